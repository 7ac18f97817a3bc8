// Signs in whom pairsmith's service sends here: the token behind the # goes where Argilla's own sign-in keeps one.
(() => {
  const token = location.hash.slice(1);
  const to = new URLSearchParams(location.search).get("to") ?? "/";
  history.replaceState(null, "", location.pathname);
  try {
    const { exp } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    localStorage.setItem("auth.strategy", "local");
    localStorage.setItem("auth._token.local", `Bearer ${token}`);
    localStorage.setItem("auth._token_expiration.local", String(1000 * exp));
    location.replace(/^\/(?![/\\])/.test(to) ? to : "/");
  } catch {
    document.getElementById("says").textContent = "This address signs nobody in; open your queue from pairsmith again.";
  }
})();

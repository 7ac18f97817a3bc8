// Signs in users that pairsmith's service sends here: stores this page's token where Argilla's own sign-in stores it.
(() => {
  const { token, page } = document.body.dataset;
  if (token) {
    const { exp } = JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
    localStorage.setItem("auth.strategy", "local");
    localStorage.setItem("auth._token.local", `Bearer ${token}`);
    localStorage.setItem("auth._token_expiration.local", String(1000 * exp));
    location.replace(page);
  } else {
    document.querySelector("p").textContent = "This sign-in link is no longer valid. Open your queue from pairsmith again.";
  }
})();

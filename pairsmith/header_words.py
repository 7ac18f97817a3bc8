"""Names of columns in exports of help desks, forms and datasets, in the languages that we know them in.

In a name `_` is a blank.
"""

from __future__ import annotations

REPLY = """
reply answer response resolution antwort lösung reponse réponse respuesta risposta resposta ответ 回答 答案
回复 返信 返答 답변 응답 رد الرد إجابة الإجابة جواب
cevap yanıt odpowiedź antwoord svar відповідь odpověď उत्तर जवाब คำตอบ jawaban پاسخ תשובה απάντηση
vastaus vastus răspuns válasz odpoveď odgovor одговор отговор atsakymas atbilde trả_lời câu_trả_lời phản_hồi
jibu sagot jawapan উত্তর பதில் సమాధానం جواب
"""
OUTPUT = f"""
output completion target targets label category summary solution rewritten corrected translation chosen kategorie klasse
ergebnis ausgabe zusammenfassung übersetzung catégorie categoria categoría etiqueta étiquette traduction traducción
traduzione tradução sortie salida saída метка категория перевод результат 标签 类别 译文 翻译 输出 ラベル 分類 翻訳 出力
라벨 분류 번역 출력 تصنيف فئة ترجمة
etiket kategori çıktı çeviri özet etykieta kategoria tłumaczenie wynik vertaling samenvatting uitvoer översättning
oversættelse oversettelse мітка переклад překlad štítek अनुवाद श्रेणी คำแปล terjemahan ترجمه برچسب תרגום תווית
μετάφραση ετικέτα docstring {REPLY}
luokka tunniste etichetă categorie rezumat címke kategória összefoglaló oznaka kategorija ознака категорија
етикет резюме nhãn bản_dịch tóm_tắt lebo tafsiri muhtasari লেবেল অনুবাদ வகை மொழிபெயர்ப்பு
"""
INPUT = """
input inputs prompt question query body message request text ticket instruction source frage nachricht anfrage
pregunta mensaje texte texto testo domanda messaggio pergunta mensagem вопрос сообщение текст 问题 消息 文本
输入 質問 本文 入力 질문 메시지 본문 입력 سؤال السؤال رسالة نص
soru mesaj metin girdi pytanie wiadomość tekst vraag bericht fråga meddelande spørgsmål spørsmål питання повідомлення
otázka zpráva प्रश्न संदेश คำถาม ข้อความ pertanyaan pesan teks پرسش پیام متن שאלה הודעה טקסט ερώτηση μήνυμα κείμενο
kysymys viesti teksti küsimus întrebare mesaj kérdés üzenet szöveg správa pitanje poruka питање порука
въпрос съобщение vprašanje sporočilo klausimas jautājums missatge
câu_hỏi tin_nhắn văn_bản nội_dung swali ujumbe maandishi tanong mensahe soalan
প্রশ্ন বার্তা கேள்வி செய்தி ప్రశ్న سوال
"""
# Of columns whose values come back, what a person told of each text.
LABELS = """
class category label sentiment intent topic subject_area priority urgency severity emotion verdict stance tag rating
queue department kategorie klasse thema stimmung absicht dringlichkeit priorität catégorie sentiment sujet priorité
urgence categoría sentimiento tema prioridad urgencia categoria sentimento assunto prioridade urgência argomento
priorità urgenza категория тема тональность приоритет 类别 情感 主题 优先级 意图
カテゴリ 感情 優先度 話題 분류 감정 주제 우선순위 تصنيف موضوع أولوية
etiket kategori konu duygu öncelik etykieta kategoria temat onderwerp мітка štítek श्रेणी भावना หมวดหมู่ برچسب
קטגוריה κατηγορία ετικέτα
luokka tunniste categorie etichetă címke kategória kategorija oznaka категорија nhãn loại aina lebo শ্রেণী லேபிள்
"""
# Of columns that say in a few words what the text below is about.
HEAD = """
subject title headline betreff titel sujet asunto oggetto assunto тема 主题 标题 件名 제목 الموضوع
konu başlık temat onderwerp ämne emne หัวข้อ
aihe otsikko subiect titlu tárgy cím naslov predmet наслов заглавие tiêu_đề chủ_đề mada kichwa বিষয় தலைப்பு
"""

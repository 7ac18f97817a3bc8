"""One code for a language that has several, and one script for both sides of a pair.

Serbian is written in Cyrillic and in Latin letters, and both are equally correct:

in_latin("Поруџбина 44190, Милица") == "Porudžbina 44190, Milica"

Chinese is written in Simplified and in Traditional characters. The tables have the Simplified ones:

in_simplified("今天無牛奶") == "今天无牛奶"
"""

from __future__ import annotations

import re
from functools import lru_cache, partial

from curate.gates.folding import CACHE_SIZE
from curate.gates.judgement import Gate, Judgement
from schemas.records import Pair, Reason

# Language codes that the tables and the identifier know under another code: both forms of Norwegian are `no`.
_KNOWN_AS = {"nb": "no", "nn": "no"}
_TWO_SCRIPTS = ("sr", "bs")
_CYRILLIC, _LATIN = re.compile("[а-яђјљњћџ]", re.IGNORECASE), re.compile("[a-zčćđšž]", re.IGNORECASE)
_LETTERS = dict(zip("абвгдђежзијклмнопрстћуфхцчш", "abvgdđežzijklmnoprstćufhcčš", strict=True))
_LETTERS |= {"љ": "lj", "њ": "nj", "џ": "dž"}
_TO_LATIN = str.maketrans(_LETTERS | {one.upper(): other.capitalize() for one, other in _LETTERS.items()})

# Traditional characters, each followed by its Simplified one: those that occur in words of the tables and of the CLDR,
# and other frequent ones. 隻 is missing, because it counts animals, while its 只 also means `only`.
_PAIRS = (
    "丟丢並并乾干亞亚佈布佔占併并來来侖仑侷局係系倆俩倉仓個个們们倖幸倫伦偉伟側侧偽伪傘伞備备傢家傳传債债傷伤傾倾僅仅僑侨價价儀仪億亿儉俭償偿優优儲储兒儿內内兩两凍冻別别刪删則则剛刚創创剷铲劃划劇剧劍剑劑剂動动務务勝胜勞劳勢势勵励"
    "勸劝匯汇區区協协厭厌厲厉參参吿告員员問问啓启啞哑啟启喚唤喪丧喫吃喬乔單单嗎吗嗚呜嘆叹嘗尝嘩哗嘯啸噁恶噴喷嚐尝嚮向嚴严囌苏國国圍围圓圆圖图團团執执堅坚堝埚報报場场塊块塵尘墊垫墳坟墾垦壇坛壓压壘垒壞坏壟垄壩坝壺壶夠够夾夹奪夺奮奋"
    "妝妆姦奸娛娱婦妇媽妈嬌娇孃娘孫孙學学宮宫實实寧宁審审寫写寬宽將将專专尋寻對对導导層层岡冈峯峰島岛崗岗崙仑嶺岭帥帅師师帳帐帶带幟帜幣币幫帮幾几庫库廁厕廚厨廟庙廠厂廢废廣广廳厅弔吊張张強强彆别彈弹彙汇後后從从復复徹彻恥耻悶闷惡恶"
    "愛爱態态慣惯慮虑憂忧憤愤憲宪憶忆應应懶懒懷怀懸悬戰战戲戏戶户捲卷掃扫採采揚扬換换揮挥損损搖摇搶抢摺折撥拨撫抚擁拥擇择擊击擋挡據据擠挤擡抬擲掷擴扩擺摆擾扰攔拦攝摄敍叙敗败敘叙敵敌數数斷断於于昇升時时暫暂曆历曉晓曠旷曬晒書书會会"
    "朮术東东條条楊杨業业極极榮荣構构槍枪樂乐標标樣样樹树橋桥機机檢检檯台欄栏權权欖榄歎叹歐欧歡欢歲岁歷历歸归殘残殲歼殺杀毀毁氣气決决沒没況况洩泄淨净減减渦涡測测湯汤準准溫温滅灭滙汇滬沪滾滚滿满漁渔漢汉漲涨潑泼潔洁潤润潰溃澀涩澆浇"
    "澤泽濃浓濟济濫滥濱滨濾滤瀏浏災灾為为烏乌無无煉炼煙烟煩烦熱热燒烧營营燬毁爛烂爭争爲为爺爷爾尔牀床牆墙牽牵獅狮獎奖獨独獲获獵猎獸兽現现瑪玛環环產产甦苏畢毕異异當当痠酸瘋疯瘡疮療疗癡痴癱瘫發发盃杯監监盤盘盧卢盪荡眾众睏困瞭了確确"
    "碼码磚砖礙碍礦矿祕秘禮礼種种稱称積积穩稳穫获窩窝窮穷竄窜竅窍競竞筆笔箇个節节範范篩筛簡简簽签籠笼籤签糰团紀纪約约紅红紋纹納纳純纯紙纸級级紛纷細细紹绍終终組组結结絕绝絞绞絡络給给統统絲丝綁绑經经綜综綠绿綫线維维綱纲網网緊紧線线"
    "編编緩缓練练緻致縣县縫缝縮缩縱纵總总績绩織织繡绣繪绘繫系繼继續续纔才罈坛罵骂罷罢羅罗羣群義义習习翹翘聞闻聯联聳耸職职聾聋肅肃脅胁脩修脫脱脹胀腦脑腫肿腳脚腸肠膚肤臉脸臟脏臨临臺台與与興兴舉举艙舱艦舰華华菸烟萬万蒼苍蓮莲蕩荡薦荐"
    "藍蓝藝艺藥药蘇苏蘭兰蘿萝處处虛虚虜虏號号蝕蚀蟲虫衆众術术衛卫衞卫裏里補补裡里製制複复褲裤襬摆覆复見见規规視视親亲覺觉覽览觀观觸触訂订計计訊讯討讨訓训託托記记訪访設设許许訴诉註注証证評评詞词詢询試试詩诗話话該该詳详認认語语誤误"
    "說说説说誰谁課课誼谊調调談谈請请論论諮咨諷讽諸诸謂谓謊谎謙谦講讲謝谢謹谨譁哗證证識识譜谱譯译議议護护讀读讓让讚赞豈岂豎竖豬猪貓猫貞贞負负財财貢贡貨货販贩貪贪貫贯責责貴贵貶贬買买貸贷費费貼贴貿贸賀贺賄贿資资賓宾賞赏賠赔賣卖賤贱"
    "賦赋質质賬账賭赌賴赖賺赚購购賽赛贈赠贊赞趕赶趨趋躍跃車车軍军軟软較较載载輕轻輛辆輝辉輩辈輪轮輯辑輸输輻辐轉转辦办辭辞辯辩農农迴回這这連连週周進进運运過过達达違违遜逊遞递遠远適适遲迟選选遺遗還还邊边邏逻郵邮鄉乡鄧邓鄭郑醜丑醫医"
    "醬酱釋释釘钉針针釣钓釦扣鈴铃鉛铅鉤钩銀银銅铜銳锐銷销鋒锋鋪铺鋼钢錄录錢钱錦锦錫锡錯错錶表鍊炼鍋锅鍛锻鍵键鍾钟鎊镑鎖锁鎮镇鏈链鏟铲鏡镜鏽锈鐘钟鐵铁鑑鉴鑒鉴鑰钥鑽钻長长門门閃闪閉闭開开閑闲閒闲間间閣阁閤合閥阀閱阅閲阅闆板闊阔闖闯"
    "關关陝陕陞升陣阵陰阴陳陈陸陆陽阳隊队階阶際际隨随險险隱隐雖虽雙双雛雏雜杂雞鸡離离難难雲云電电霧雾鞦秋韆千韓韩韻韵頁页頂顶項项順顺須须頌颂預预頑顽頒颁頓顿頗颇領领頭头頰颊頸颈頻频題题額额顏颜願愿顛颠類类顧顾顫颤顯显風风颱台飄飘"
    "飛飞飢饥飯饭飲饮飼饲飽饱飾饰餅饼養养餘余餡馅館馆饑饥馬马駛驶駱骆騎骑騙骗騷骚驅驱驕骄驗验驚惊驢驴髒脏體体髮发鬆松鬚须魚鱼魯鲁鮮鲜鯨鲸鳥鸟鳳凤鳴鸣鴨鸭鴻鸿鵝鹅鷹鹰鹽盐麪面麵面麼么黃黄點点鼕冬齊齐齒齿齣出龍龙龜龟"
)
_TO_SIMPLIFIED = str.maketrans(dict(zip(_PAIRS[::2], _PAIRS[1::2], strict=True)))
_HAN = re.compile("[一-鿿]+")


def table_code(code: str) -> str:
    """Return the code under which the tables and the identifier know the language `code`."""
    return _KNOWN_AS.get(code, code)


def in_latin(text: str) -> str:
    """Return a Serbian text in Latin letters."""
    return text.translate(_TO_LATIN)


@lru_cache(maxsize=CACHE_SIZE)  # all gates ask for the same few texts
def in_simplified(text: str, language: str = "zh") -> str:
    """Return a Chinese text in Simplified characters, of the same length; one in another `language` is unchanged."""
    return text.translate(_TO_SIMPLIFIED) if language == "zh" and not text.isascii() else text


def in_one_script(gate: Gate, language: str, input_language: str) -> Gate:
    """Return `gate` as one that sees every pair in the script of the tables.

    Chinese is in Simplified characters, and both sides of a pair are in the same script where one is in Serbian. The
    reason quotes Chinese as it is written in the pair.
    """
    if "zh" in (language, input_language):
        return partial(_judge_in_simplified, gate, language, input_language)
    if language not in _TWO_SCRIPTS and input_language not in _TWO_SCRIPTS:
        return gate
    return partial(_judge_in_one_script, gate, language, input_language)


def _judge_in_simplified(gate: Gate, language: str, input_language: str, pair: Pair) -> Judgement:
    sides = {"input": input_language, "system": input_language, "output": language, "reference": language}
    written = {side: getattr(pair, side) or "" for side in sides}
    changed = {side: new for side, old in written.items() if (new := in_simplified(old, sides[side])) != old}
    if not changed:
        return gate(pair)
    judgement = gate(pair.model_copy(update=changed))
    if judgement.reason.code == "echo" and ("input" in changed) != ("output" in changed):
        return gate(pair)  # a text may be asked for in the other script

    def as_written(run: re.Match[str]) -> str:
        places = ((written[side], text.find(run[0])) for side, text in changed.items())
        return next((text[at : at + len(run[0])] for text, at in places if at >= 0), run[0])

    reason = judgement.reason
    return judgement._replace(reason=Reason(reason.code, _HAN.sub(as_written, reason.detail)))


def _judge_in_one_script(gate: Gate, language: str, input_language: str, pair: Pair) -> Judgement:
    return gate(in_same_script(pair, language, input_language))


def in_same_script(pair: Pair, language: str, input_language: str) -> Pair:
    """Return a pair with both sides in Latin letters, if one is in Serbian Cyrillic and the other in Latin letters.

    Any other pair is returned unchanged.
    """
    for one, other, code in ((pair.input, pair.output, input_language), (pair.output, pair.input, language)):
        if code in _TWO_SCRIPTS and _mostly_cyrillic(one) and not _mostly_cyrillic(other) and _LATIN.search(other):
            return pair.model_copy(update={"input": in_latin(pair.input), "output": in_latin(pair.output)})
    return pair


def _mostly_cyrillic(text: str) -> bool:
    return len(_CYRILLIC.findall(text)) > len(_LATIN.findall(text))

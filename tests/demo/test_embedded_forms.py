"""Inflection against tables written by hand, form by form, without the generator's rules or lists."""

import pytest

from tinydistil.demo.embedded.morphology import agree, feminine, plural
from tinydistil.demo.embedded.phrases import after, determiner_form
from tinydistil.demo.embedded.verbs import conjugate

PLURALS = """
casa casas, pé pés, irmã irmãs, avó avós, avô avôs, chapéu chapéus, coração corações, limão limões, avião aviões,
pão pães, cão cães, alemão alemães, capitão capitães, irmão irmãos, mão mãos, cidadão cidadãos, órgão órgãos,
animal animais, jornal jornais, hospital hospitais, hotel hotéis, papel papéis, pastel pastéis, túnel túneis,
possível possíveis, agradável agradáveis, incrível incríveis, farol faróis, lençol lençóis, azul azuis, fácil fáceis,
difícil difíceis, útil úteis, frágil frágeis, barril barris, gentil gentis, homem homens, jovem jovens, álbum álbuns,
jardim jardins, som sons, flor flores, mulher mulheres, colher colheres, açúcar açúcares, juiz juízes, rapaz rapazes,
feliz felizes, luz luzes, mês meses, país países, inglês ingleses, freguês fregueses, ônibus ônibus, lápis lápis,
tênis tênis, pires pires, atlas atlas, simples simples, gol gols, bem-te-vi bem-te-vis, guarda-chuva guarda-chuvas,
beija-flor beija-flores, lobo-guará lobos-guarás, quebra-cabeça quebra-cabeças, guarda-roupa guarda-roupas,
pão de queijo pães de queijo, dor de cabeça dores de cabeça, chave de fenda chaves de fenda,
cartão vermelho cartões vermelhos, sala de aula salas de aula, raio x raios x, cartão-postal cartões-postais,
posto de saúde postos de saúde, bolsa de estudos bolsas de estudos, melhor melhores, bom bons
"""
FEMININES = """
menino menina, professor professora, trabalhador trabalhadora, cantor cantora, ator atriz, juiz juíza, bom boa,
mau má, irmão irmã, campeão campeã, cidadão cidadã, leão leoa, avô avó, garçom garçonete, freguês freguesa,
inglês inglesa, europeu europeia, cru crua, feliz feliz, simples simples, inteligente inteligente, azul azul,
jovem jovem, maior maior, melhor melhor, pior pior, fácil fácil, espanhol espanhola, brincalhão brincalhona,
chefe chefe, dono dona, sogro sogra, escritor escritora, médico médica, prefeito prefeita, patrão patroa,
chefe de cozinha chefe de cozinha
"""
# Verb: present eu, ele, nós, eles / preterite / imperfect / future / subjunctive / gerund participle.
VERBS = """
falar: falo fala falamos falam / falei falou falamos falaram / falava falava falávamos falavam / falarei falará falaremos falarão / fale fale falemos falem / falando falado
comer: como come comemos comem / comi comeu comemos comeram / comia comia comíamos comiam / comerei comerá comeremos comerão / coma coma comamos comam / comendo comido
abrir: abro abre abrimos abrem / abri abriu abrimos abriram / abria abria abríamos abriam / abrirei abrirá abriremos abrirão / abra abra abramos abram / abrindo aberto
ser: sou é somos são / fui foi fomos foram / era era éramos eram / serei será seremos serão / seja seja sejamos sejam / sendo sido
ir: vou vai vamos vão / fui foi fomos foram / ia ia íamos iam / irei irá iremos irão / vá vá vamos vão / indo ido
fazer: faço faz fazemos fazem / fiz fez fizemos fizeram / fazia fazia fazíamos faziam / farei fará faremos farão / faça faça façamos façam / fazendo feito
trazer: trago traz trazemos trazem / trouxe trouxe trouxemos trouxeram / trazia trazia trazíamos traziam / trarei trará traremos trarão / traga traga tragamos tragam / trazendo trazido
ver: vejo vê vemos veem / vi viu vimos viram / via via víamos viam / verei verá veremos verão / veja veja vejamos vejam / vendo visto
ter: tenho tem temos têm / tive teve tivemos tiveram / tinha tinha tínhamos tinham / terei terá teremos terão / tenha tenha tenhamos tenham / tendo tido
estar: estou está estamos estão / estive esteve estivemos estiveram / estava estava estávamos estavam / estarei estará estaremos estarão / esteja esteja estejamos estejam / estando estado
dormir: durmo dorme dormimos dormem / dormi dormiu dormimos dormiram / dormia dormia dormíamos dormiam / dormirei dormirá dormiremos dormirão / durma durma durmamos durmam / dormindo dormido
servir: sirvo serve servimos servem / servi serviu servimos serviram / servia servia servíamos serviam / servirei servirá serviremos servirão / sirva sirva sirvamos sirvam / servindo servido
sair: saio sai saímos saem / saí saiu saímos saíram / saía saía saíamos saíam / sairei sairá sairemos sairão / saia saia saiamos saiam / saindo saído
construir: construo constrói construímos constroem / construí construiu construímos construíram / construía construía construíamos construíam / construirei construirá construiremos construirão / construa construa construamos construam / construindo construído
subir: subo sobe subimos sobem / subi subiu subimos subiram / subia subia subíamos subiam / subirei subirá subiremos subirão / suba suba subamos subam / subindo subido
passear: passeio passeia passeamos passeiam / passeei passeou passeamos passearam / passeava passeava passeávamos passeavam / passearei passeará passearemos passearão / passeie passeie passeemos passeiem / passeando passeado
ficar: fico fica ficamos ficam / fiquei ficou ficamos ficaram / ficava ficava ficávamos ficavam / ficarei ficará ficaremos ficarão / fique fique fiquemos fiquem / ficando ficado
pôr: ponho põe pomos põem / pus pôs pusemos puseram / punha punha púnhamos punham / porei porá poremos porão / ponha ponha ponhamos ponham / pondo posto
"""  # noqa: E501
# Single forms that are easily got wrong: verb, tense, column, form.
SINGLE = """
chegar preterite 0 cheguei, começar preterite 0 comecei, dirigir present 0 dirijo, proteger subjunctive 1 proteja,
conhecer present 0 conheço, seguir present 0 sigo, seguir subjunctive 3 sigam, pedir present 0 peço,
ouvir present 0 ouço, perder present 0 perco, perder subjunctive 1 perca, medir present 0 meço,
poder preterite 1 pôde, poder present 1 pode, querer preterite 1 quis, saber preterite 0 soube,
dizer preterite 1 disse, vir preterite 1 veio, vir present 3 vêm, dar preterite 1 deu, dar subjunctive 1 dê,
ler present 3 leem, rir present 1 ri, cair present 1 cai, odiar present 0 odeio, expor present 1 expõe,
compor preterite 1 compôs, prever preterite 1 previu, manter present 1 mantém, manter present 3 mantêm,
descobrir present 0 descubro, vestir present 0 visto, fugir present 1 foge, destruir present 1 destrói,
reunir present 1 reúne, apagar preterite 0 apaguei, apagar subjunctive 1 apague, tocar subjunctive 3 toquem,
dançar preterite 0 dancei, fazer future_subjunctive 1 fizer, ir future_subjunctive 1 for,
ter future_subjunctive 3 tiverem, sair future_subjunctive 1 sair, comprar future_subjunctive 3 comprarem,
fazer conditional 1 faria, comer conditional 2 comeríamos, haver present 1 há, haver preterite 1 houve,
morder present 1 morde, doer present 1 dói, sentir present 0 sinto, traduzir preterite 1 traduziu,
emagrecer present 0 emagreço, atravessar preterite 3 atravessaram, aplaudir present 1 aplaude,
vencer subjunctive 1 vença
"""
IRREGULAR_3S_PRESENT = {"traduzir": "traduz", "produzir": "produz", "reduzir": "reduz"}
MELTED = """
em a sala = na sala, de o pai = do pai, por os alunos = pelos alunos, a a escola = à escola,
a o mercado = ao mercado, em os livros = nos livros, de as ruas = das ruas, por a janela = pela janela,
a as aulas = às aulas, de este bolo = deste bolo, em aquele dia = naquele dia, a aquela hora = àquela hora,
de ele = dele, em elas = nelas, com a mãe = com a mãe, em Recife = em Recife, em cima de a mesa = em cima da mesa,
perto de o rio = perto do rio, para o pai = para o pai, de essa rua = dessa rua, com nós = conosco,
em um dia = em um dia, de aqueles meses = daqueles meses
"""


def entries(table: str, separator: str | None = None) -> list[list[str]]:
    return [entry.strip().split(separator) for entry in table.replace("\n", " ").split(",") if entry.strip()]


def halves(table: str) -> list[tuple[str, str]]:
    """Entries of two phrases with equally many words."""
    words = entries(table)
    return [(" ".join(entry[: len(entry) // 2]), " ".join(entry[len(entry) // 2 :])) for entry in words]


@pytest.mark.parametrize(("singular", "expected"), halves(PLURALS))
def test_plural(singular: str, expected: str) -> None:
    assert plural(singular) == expected


@pytest.mark.parametrize(("masculine", "expected"), halves(FEMININES))
def test_feminine(masculine: str, expected: str) -> None:
    assert feminine(masculine) == expected


@pytest.mark.parametrize("line", VERBS.strip().splitlines())
def test_conjugation(line: str) -> None:
    infinitive, _, forms = line.partition(": ")
    rows = forms.split(" / ")
    verb = conjugate(infinitive)
    found = [verb.present, verb.preterite, verb.imperfect, verb.future, verb.subjunctive]
    assert [" ".join(row) for row in found] == rows[:5]
    assert f"{verb.gerund} {verb.participle}" == rows[5]


@pytest.mark.parametrize(("infinitive", "tense", "column", "expected"), entries(SINGLE))
def test_single_forms(infinitive: str, tense: str, column: str, expected: str) -> None:
    assert getattr(conjugate(infinitive), tense)[int(column)] == expected


@pytest.mark.parametrize(("infinitive", "expected"), IRREGULAR_3S_PRESENT.items())
def test_verbs_in_uzir_drop_their_e(infinitive: str, expected: str) -> None:
    assert conjugate(infinitive).present[1] == expected


@pytest.mark.parametrize(("apart", "expected"), entries(MELTED, " = "))
def test_prepositions_melt_into_articles(apart: str, expected: str) -> None:
    words = apart.split()
    # "em cima de" and "perto de" are one preposition; the other entries begin with a single word.
    size = {"em cima de": 3, "perto de": 2}.get(" ".join(words[:3]), 2 if words[0] == "perto" else 1)
    assert after(" ".join(words[:size]), " ".join(words[size:])) == expected


def test_adjectives_and_determiners_agree() -> None:
    assert [agree("bom", gender, many) for gender in "mf" for many in (False, True)] == ["bom", "bons", "boa", "boas"]
    assert [agree("azul", gender, many) for gender in "mf" for many in (False, True)] == ["azul", "azuis"] * 2
    assert agree("cansado", "f", True) == "cansadas"
    assert determiner_form("dois", "f", True) == "duas"
    assert determiner_form("vinte e um", "f", True) == "vinte e uma"
    assert determiner_form("meu", "f", False) == "minha"


def test_the_tables_hold_enough_forms() -> None:
    conjugated = sum(len(line.split()) - 6 for line in VERBS.strip().splitlines())
    assert len(halves(PLURALS)) + len(halves(FEMININES)) + len(entries(SINGLE)) + conjugated >= 150

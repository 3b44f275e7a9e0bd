"""Irregular verbs: persons eu, ele, nós, eles in present, preterite, imperfect and present subjunctive."""

from tinydistil.base.errors import require

_TABLE = """
ser: sou é somos são | fui foi fomos foram | era era éramos eram | seja seja sejamos sejam
estar: estou está estamos estão | estive esteve estivemos estiveram | estava estava estávamos estavam | esteja esteja estejamos estejam
ter: tenho tem temos têm | tive teve tivemos tiveram | tinha tinha tínhamos tinham | tenha tenha tenhamos tenham
haver: hei há havemos hão | houve houve houvemos houveram | havia havia havíamos haviam | haja haja hajamos hajam
ir: vou vai vamos vão | fui foi fomos foram | ia ia íamos iam | vá vá vamos vão
vir: venho vem vimos vêm | vim veio viemos vieram | vinha vinha vínhamos vinham | venha venha venhamos venham
ver: vejo vê vemos veem | vi viu vimos viram | via via víamos viam | veja veja vejamos vejam
dar: dou dá damos dão | dei deu demos deram | dava dava dávamos davam | dê dê demos deem
fazer: faço faz fazemos fazem | fiz fez fizemos fizeram | fazia fazia fazíamos faziam | faça faça façamos façam
dizer: digo diz dizemos dizem | disse disse dissemos disseram | dizia dizia dizíamos diziam | diga diga digamos digam
trazer: trago traz trazemos trazem | trouxe trouxe trouxemos trouxeram | trazia trazia trazíamos traziam | traga traga tragamos tragam
poder: posso pode podemos podem | pude pôde pudemos puderam | podia podia podíamos podiam | possa possa possamos possam
querer: quero quer queremos querem | quis quis quisemos quiseram | queria queria queríamos queriam | queira queira queiramos queiram
saber: sei sabe sabemos sabem | soube soube soubemos souberam | sabia sabia sabíamos sabiam | saiba saiba saibamos saibam
pôr: ponho põe pomos põem | pus pôs pusemos puseram | punha punha púnhamos punham | ponha ponha ponhamos ponham
ler: leio lê lemos leem | li leu lemos leram | lia lia líamos liam | leia leia leiamos leiam
crer: creio crê cremos creem | cri creu cremos creram | cria cria críamos criam | creia creia creiamos creiam
rir: rio ri rimos riem | ri riu rimos riram | ria ria ríamos riam | ria ria riamos riam
caber: caibo cabe cabemos cabem | coube coube coubemos couberam | cabia cabia cabíamos cabiam | caiba caiba caibamos caibam
doer: doo dói doemos doem | doí doeu doemos doeram | doía doía doíamos doíam | doa doa doamos doam
"""  # noqa: E501 (a verb a line reads as the table it is)

# Verbs whose first person alone leaves the rule, and takes the subjunctive with it: perco, perca.
IRREGULAR_FIRST = {
    "perder": "perc", "ouvir": "ouç", "pedir": "peç", "medir": "meç", "valer": "valh", "despedir": "despeç",
    "impedir": "impeç",
}  # fmt: skip

PARTICIPLES = {
    "abrir": "aberto", "cobrir": "coberto", "descobrir": "descoberto", "escrever": "escrito", "descrever": "descrito",
    "dizer": "dito", "fazer": "feito", "refazer": "refeito", "ver": "visto", "rever": "revisto", "prever": "previsto",
    "vir": "vindo", "pôr": "posto", "propor": "proposto", "compor": "composto", "expor": "exposto", "ganhar": "ganho",
    "gastar": "gasto", "pagar": "pago", "entregar": "entregue", "aceitar": "aceito", "eleger": "eleito",
    "acender": "aceso", "limpar": "limpo", "prender": "preso", "imprimir": "impresso", "satisfazer": "satisfeito",
    "inscrever": "inscrito", "pegar": "pego", "salvar": "salvo", "expulsar": "expulso",
    "fritar": "frito",
}  # fmt: skip


def _read(table: str) -> dict[str, tuple[tuple[str, str, str, str], ...]]:
    verbs: dict[str, tuple[tuple[str, str, str, str], ...]] = {}
    for line in table.strip().splitlines():
        infinitive, _, forms = line.partition(": ")
        rows = []
        for row in forms.split(" | "):
            first, third, first_plural, third_plural = row.split()
            rows.append((first, third, first_plural, third_plural))
        require(len(rows) == 4, f"verb table: {infinitive} has {len(rows)} rows, needs 4")
        verbs[infinitive] = tuple(rows)
    return verbs


def _prefixed(verbs: dict[str, tuple[tuple[str, str, str, str], ...]]) -> None:
    """Verbs made from an irregular one keep its forms: prever, previu; manter, mantém."""
    for new, prefix, old in (
        ("rever", "re", "ver"), ("prever", "pre", "ver"), ("refazer", "re", "fazer"), ("sorrir", "sor", "rir"),
        ("propor", "pro", "pôr"), ("compor", "com", "pôr"), ("expor", "ex", "pôr"), ("reler", "re", "ler"),
        ("manter", "man", "ter"), ("obter", "ob", "ter"), ("conter", "con", "ter"),
    ):  # fmt: skip
        rows = [(prefix + a, prefix + b, prefix + c, prefix + d) for a, b, c, d in verbs[old]]
        if old == "ter":
            # A word of more than one syllable needs the accent that "tem" does not; the plural has its own.
            first, _, first_plural, third_plural = rows[0]
            rows[0] = (first, prefix + "tém", first_plural, third_plural)
        verbs[new] = tuple(rows)


IRREGULAR = _read(_TABLE)
_prefixed(IRREGULAR)

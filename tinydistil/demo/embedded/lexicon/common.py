"""People, cities, and words that every topic shares."""

NOUNS = """
nome(name): Ana/f Beatriz/f Camila/f Daniela/f Eduarda/f Fernanda/f Gabriela/f Helena/f Isabel/f Juliana/f Larissa/f Letícia/f Luísa/f Mariana/f Natália/f Patrícia/f Rafaela/f Renata/f Sofia/f Teresa/f Vanessa/f Alice/f Carolina/f Cecília/f Elisa/f Joana/f Lúcia/f Marta/f Raquel/f Simone/f Tatiana/f Valéria/f André/m Bruno/m Carlos/m Daniel/m Eduardo/m Felipe/m Gabriel/m Henrique/m Igor/m João/m Leonardo/m Lucas/m Marcelo/m Mateus/m Paulo/m Pedro/m Rafael/m Ricardo/m Rodrigo/m Sérgio/m Tiago/m Vítor/m Antônio/m Caio/m Diego/m Fábio/m Gustavo/m Hugo/m Jorge/m Luís/m Marcos/m Otávio/m Renato/m Samuel/m
parente(kin): pai/m mãe/f irmão/mf avô/m avó/f tio/mf primo/mf filho/mf marido/m mulher/f sobrinho/mf neto/mf padrinho/m madrinha/f sogro/m sogra/f cunhado/mf amigo/mf vizinho/mf namorado/mf colega/c afilhado/mf
cidade(city): Recife/m Salvador/f Fortaleza/f Curitiba/f Manaus/f Belém/f Natal/f Brasília/f São_Paulo/f Belo_Horizonte/f Goiânia/f Florianópolis/f Porto_Alegre/f Cuiabá/f Campinas/f Santos/f Olinda/f Ouro_Preto/f Maceió/f João_Pessoa/f Aracaju/f Teresina/f São_Luís/f Vitória/f Londrina/f Niterói/f Rio_de_Janeiro/m* Petrópolis/f Ilhéus/f Blumenau/f
colega(kin): colega/c amigo/mf vizinho/mf
estranho(person): homem/m mulher/f moça/f rapaz/m senhor/mf jovem/c estrangeiro/mf
"""  # noqa: E501

ADJECTIVES = """
nome: alto baixo simpático tímido inteligente educado engraçado calmo teimoso generoso paciente sincero corajoso curioso organizado distraído cansado@ feliz@ triste@ preocupado@ nervoso@ animado@ tranquilo@ doente@ ocupado@ atrasado@ contente@ satisfeito@ sozinho@ pronto@ acordado@ irritado@ surpreso@ orgulhoso@
parente: querido alto simpático carinhoso inteligente engraçado calmo teimoso generoso paciente sincero corajoso jovem cansado@ feliz@ triste@ preocupado@ nervoso@ animado@ tranquilo@ doente@ ocupado@ atrasado@ contente@ sozinho@ emocionado@
estranho: alto elegante simpático desconhecido educado jovem cansado@ nervoso@ apressado@
cidade: bonito grande antigo tranquilo quente moderno histórico distante agitado famoso
"""  # noqa: E501

SYNONYMS = """
"""

HYPERNYMS = ""

# Adverbials by the tense they go with.
TIMES = {
    "present": (
        "todos os dias", "aos domingos", "de manhã", "à noite", "às vezes", "toda semana", "quase todo dia",
        "nos fins de semana", "à tarde", "aos sábados", "de vez em quando", "toda segunda-feira", "o ano inteiro",
        "nas férias", "uma vez por mês", "duas vezes por semana", "três vezes por ano", "nos dias de semana",
        "ultimamente",
    ),
    "preterite": (
        "ontem", "na semana passada", "no domingo passado", "hoje de manhã", "há dois dias", "anteontem",
        "no ano passado", "no mês passado", "ontem à noite", "na segunda-feira", "na terça-feira", "na sexta-feira",
        "há uma semana", "há três meses", "no sábado à tarde", "em janeiro", "em março", "em junho", "em setembro",
        "em dezembro", "no começo do mês", "no fim da tarde", "naquela manhã", "na véspera do feriado",
        "há poucas horas", "no verão passado", "durante o feriado",
    ),
    "imperfect": (
        "naquela época", "antigamente", "todo verão", "naquele tempo", "quase sempre", "todas as tardes",
        "naqueles anos", "todos os domingos", "nos dias de chuva", "de vez em quando", "todas as noites",
        "aos sábados", "no inverno",
    ),
    "future": (
        "amanhã", "na semana que vem", "no próximo ano", "depois de amanhã", "em breve", "no mês que vem",
        "no próximo domingo", "mais tarde", "daqui a dois dias", "hoje à noite", "na próxima sexta-feira",
        "daqui a uma semana", "no fim do mês", "nas próximas férias", "em julho", "em novembro",
    ),
}  # fmt: skip

MANNERS = ("de novo", "mais uma vez", "com calma")

# First words of fixed circumstances that already say when: no second time beside them.
TEMPORAL = (
    "todas ", "todos ", "durante ", "depois ", "antes ", "às ", "ao ", "aos ", "há ", "desde ", "até ", "à noite",
    "à tarde", "de manhã", "de madrugada", "uma ", "duas ", "três ", "logo ", "mais cedo", "cedo", "tarde",
    "no fim", "no começo", "no domingo", "no Natal", "no inverno", "no verão", "no feriado", "nas férias", "na véspera",
    "na primavera", "a tarde", "a noite", "o dia", "o ano", "o mês", "toda ", "todo ", "de segunda", "a partir",
    "pela primeira", "pela segunda", "mais uma vez", "de noite", "no quinto", "no último", "na última", "por um dia",
    "dia e noite", "de vez",
)  # fmt: skip

# Nobody hopes for these; they only may happen.
HARMS = frozenset(
    "machucar quebrar perder queimar picar morder atacar derrubar destruir murchar sofrer tossir espirrar chorar "
    "faltar esquecer demitir atrasar cancelar inundar doer pegar reclamar expulsar prender condenar secar anular "
    "vetar cair aumentar assustar decepcionar negar fugir cortar criticar internar operar adiar".split()
)
# Nobody means to do a thing in these ways.
UNMEANT = ("sem querer", "por engano", "por descuido", "por acaso")

# Adjectives that take "muito" and can be compared; "particular" or "invicto" are so or not.
GRADABLE = frozenset(
    "alto baixo simpático tímido inteligente educado engraçado calmo teimoso generoso paciente sincero corajoso "
    "curioso organizado distraído cansado feliz triste preocupado nervoso animado tranquilo ocupado atrasado "
    "contente satisfeito irritado surpreso orgulhoso carinhoso jovem elegante bonito grande antigo quente "
    "moderno distante agitado famoso limpo escuro amplo silencioso pequeno claro novo velho confortável pesado "
    "resistente colorido caro barato sujo largo apertado macio manso brincalhão preguiçoso assustado obediente "
    "esperto alegre magro simples emocionante longo difícil fácil interessante chato importante divertido frio "
    "gostoso salgado apimentado leve fresco doce forte fraco maduro azedo experiente talentoso atencioso "
    "exigente impaciente apressado dedicado severo aplicado estudioso atento complicado barulhento unido rápido "
    "habilidoso veloz seguro rigoroso fanático apaixonado ofensivo equilibrado grave violento movimentado "
    "decisivo justo merecido competente cuidadoso gentil pálido amargo eficaz demorado doloroso lotado cheio "
    "vazio perigoso estreito cansativo detalhado útil úmido nublado intenso aconchegante honesto popular "
    "corrupto conservador influente sério indignado polêmico pacífico disputado urgente afinado criativo "
    "brilhante fiel emocionado romântico lento raro lindo misterioso cruel pontual eficiente caprichoso gordo "
    "bravo saudável perfumado delicado murcho seco produtivo".split()
)

# Of each set a thing can be one at a time: no "maduro e verde".
EXCLUSIVE = tuple(
    frozenset(words.split())
    for words in (
        "maduro verde cru cozido seco",
        "cheio vazio lotado deserto",
        "aberto fechado",
        "caro barato gratuito",
        "novo velho antigo idoso jovem",
        "quente frio gelado fresco",
        "limpo sujo empoeirado",
        "fácil difícil complicado",
        "longo curto",
        "alto baixo",
        "forte fraco",
        "gordo magro",
        "leve pesado grave",
        "manso bravo",
        "preso foragido",
        "inocente culpado",
        "justo injusto",
        "grande pequeno enorme",
        "simples complicado",
        "molhado seco",
        "largo apertado",
        "triste feliz alegre animado contente",
        "chato interessante divertido emocionante",
        "azul vermelho branco preto verde amarelo marrom",
        "doente curado saudável",
        "público particular",
        "calmo nervoso irritado tranquilo agitado preocupado",
        "rápido lento",
        "honesto corrupto",
        "quebrado novo moderno",
        "claro escuro nublado",
        "pacífico violento",
        "doce azedo amargo salgado",
        "afinado desafinado",
        "organizado distraído bagunçado",
        "comprido curto",
        "velho moderno",
        "antigo moderno",
        "pronto atrasado parado",
        "ocupado tranquilo",
        "barulhento silencioso tranquilo",
        "exigente paciente impaciente",
        "raro barato",
    )
)

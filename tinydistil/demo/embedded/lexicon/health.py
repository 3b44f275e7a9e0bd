"""Health, body and hospital."""

NOUNS = """
médico(person): médico/mf doutor/mf cirurgião/mf pediatra/c cardiologista/c
enfermeiro(person): enfermeiro/mf
dentista(person): dentista/c
paciente(person): paciente/c doente/c
farmacêutico(person): farmacêutico/mf
doença(mass): gripe/f dengue/f asma/f bronquite/f anemia/f pneumonia/f sinusite/f catapora/f
sintoma(mass): febre/f tosse/f tontura/f cansaço/m enjoo/m dor_de_cabeça/f dor_de_garganta/f dor_nas_costas/f
remédio: remédio/m medicamento/m xarope/m comprimido/m antibiótico/m vitamina/f pomada/f
exame: exame/m exame_de_sangue/m raio_x/m ultrassom/m
tratamento: tratamento/m cirurgia/f consulta/f vacina/f fisioterapia/f curativo/m
hospital(place): hospital/m clínica/f posto_de_saúde/m farmácia/f consultório/m pronto-socorro/m
corpo: braço/m perna/f mão/f pé/m joelho/m ombro/m dedo/m olho/m orelha/f dente/m costas/f+
doído: cabeça/f barriga/f garganta/f perna/f braço/m joelho/m dente/m pé/m ombro/m
osso: braço/m perna/f dedo/m
receita_médica: receita/f atestado/m
equipamento: termômetro/m maca/f ambulância/f seringa/f máscara/f balança/f
hábito(mass): exercício/m caminhada/f dieta/f sono/m
academia(place): academia/f parque/m
caminho_saudável(place): parque/m ciclovia/f praia/f calçadão/m
cirurgião_só(person): cirurgião/mf
consulta_só: consulta/f
vacina_só: vacina/f
posto(place): posto_de_saúde/m hospital/m
gripe_só(mass): gripe/f dengue/f
medida(unique): pressão/f temperatura/f peso/m
curativo_só: curativo/m
escada_queda(place): escada/f rua/f calçada/f piscina/f
cirurgia_só: cirurgia/f
dente_só: dente/m
dentes: dentes/m+
consultório(place): consultório/m clínica/f
farmácia_só(place): farmácia/f drogaria/f
exercício_só: exercício/m esporte/m
piscina_só(place): piscina/f mar/m rio/m
sofá_só(place): sofá/m cama/f
ambulância_só(unique): ambulância/f
alimento(mass): sal/m açúcar/m gordura/f álcool/m café/m
doença_geral: doença/f
"""

ADJECTIVES = """
médico: experiente atencioso ocupado@ competente famoso jovem calmo cuidadoso
enfermeiro: atencioso cuidadoso cansado@ experiente gentil ocupado@
dentista: cuidadoso experiente caro atencioso
paciente: fraco@ nervoso@ curado@ impaciente@ idoso internado@ jovem pálido@ recuperado@
farmacêutico: atencioso competente
remédio: forte amargo caro eficaz barato vencido@ novo
exame: simples caro rápido demorado pronto@ doloroso
tratamento: longo caro eficaz simples demorado doloroso
hospital: cheio@ público particular moderno lotado@ limpo@ distante
corpo: inchado@ machucado@ dolorido@ quebrado@
equipamento: novo moderno quebrado@ limpo@
"""

FRAMES = """
examinar | médico | *paciente criança | em hospital ; !com cuidado ; !de manhã cedo
atender | médico enfermeiro | *paciente.d paciente.q | em hospital ; !com atenção ; !sem demora ; !de graça
receitar | médico | *remédio.i ; para paciente parente | !depois da consulta ; contra sintoma.b
operar | cirurgião_só | *paciente | em hospital ; !durante quatro horas ; !com urgência
pedir | médico | *exame.i | para paciente.d ; !antes da cirurgia
fazer | P paciente | *exame.i | em hospital ; !em jejum ; !por ordem do médico
marcar | P paciente | *consulta_só.i exame.i | em hospital ; com médico ; !pelo telefone
tomar | P paciente | *remédio.d remédio.i | !depois das refeições ; !de oito em oito horas ; !por uma semana ; contra sintoma.b
tomar | P paciente criança | *vacina_só.d | em posto ; !sem chorar ; contra gripe_só.d
aplicar | enfermeiro | *vacina_só.d | em paciente criança ; em posto
medir | enfermeiro médico | *medida.d | de paciente ; !duas vezes ; !com o aparelho novo
trocar | enfermeiro | *curativo_só.d | !todas as manhãs ; de paciente
cuidar | enfermeiro P | de paciente.d parente | em hospital ; !durante a noite ; !com carinho
visitar | P | *paciente.d parente | em hospital ; !depois da cirurgia
internar | médico | *paciente | em hospital ; !por três dias ; !por causa da febre
ter~ | P paciente criança | sintoma.b doença.b | !desde segunda-feira ; !há três dias
pegar | P criança | doença.b | em escola ; !no inverno ; !durante a viagem
curar | médico remédio.d | *doença.d | !em poucos dias ; !com repouso
sentir | P paciente | sintoma.b | !depois do almoço ; !à noite ; !desde ontem
quebrar | P criança jogador | osso.u | em escada_queda ; !no jogo ; !em um acidente
machucar | P criança jogador | corpo.u | em escada_queda ; !no jogo ; !em casa
doer | doído.u | | !muito ; !à noite ; !depois da corrida
recuperar-se | P paciente | de doença.d cirurgia_só.d | !em casa ; !depressa ; em hospital
tratar | dentista | *dente_só.d | de paciente criança ; !sem dor ; em consultório
arrancar | dentista | *dente_só.i | de paciente criança ; !sem dor
escovar | P criança | dentes.d | !depois de comer ; !antes de dormir ; !com pouca pasta
comprar | P paciente | *remédio | em farmácia_só ; !com receita ; !para a gripe
vender | farmacêutico | *remédio.i remédio.p | !sem receita ; para paciente.d ; !pela metade do preço
praticar | P | *exercício_só.p | em academia ; !três vezes por semana ; !antes do trabalho
caminhar | P | | em caminho_saudável ; com parente ; !durante uma hora ; !por recomendação médica
nadar | P criança | | em piscina_só ; !com o professor ; !durante uma hora
descansar | P paciente | | !depois da cirurgia ; !por ordem do médico ; em sofá_só
vacinar | enfermeiro | *criança.d paciente.d | em posto ; contra gripe_só.d
levar | ambulância_só.d parente | *paciente.d criança | para hospital ; !com urgência
chamar | P enfermeiro | *médico.d ambulância_só.d | !no meio da noite ; !por telefone ; !sem demora
espirrar | P criança | | !sem parar ; !por causa do frio
tossir | P paciente criança | | !sem parar ; !a noite inteira
emagrecer | P paciente | | !cinco quilos ; !com saúde
evitar | P paciente | *alimento.d | !por causa da pressão ; !por ordem do médico
assinar | médico | *receita_médica.d | !sem olhar ; !com pressa
haver~ | | paciente.q médico.q | em hospital
melhorar | paciente.d | | !com o remédio novo ; !depois da cirurgia ; !em poucos dias
"""  # noqa: E501

SYNONYMS = """
médico doutor
paciente doente
remédio medicamento
farmácia drogaria
examinar avaliar
"""

HYPERNYMS = """
remédio: xarope comprimido antibiótico pomada
médico: cirurgião pediatra cardiologista
exame: raio_x ultrassom exame_de_sangue
"""

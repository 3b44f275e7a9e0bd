"""Weather and travel."""

NOUNS = """
turista(person): turista/c viajante/c passageiro/mf visitante/c hóspede/c
guia(person): guia/c
motorista(person): motorista/c taxista/c piloto/c
funcionário(person): funcionário/mf recepcionista/c comissário/mf
transporte: ônibus/m trem/m avião/m navio/m barco/m táxi/m metrô/m aeronave/f
veículo(own): carro/m moto/f caminhão/m automóvel/m van/f
lugar(place): praia/f serra/f ilha/f cachoeira/f montanha/f lagoa/f parque/m floresta/f
monumento(place): museu/m igreja/f mercado/m praça/f castelo/m farol/m ponte/f centro_histórico/m
hospedagem(place): hotel/m pousada/f albergue/m hospedaria/f
terminal(place): aeroporto/m rodoviária/f porto/m estação/f
caminho: estrada/f rodovia/f trilha/f rua/f avenida/f
bagagem(own): mala/f mochila/f passaporte/m bolsa/f
passagem: passagem/f bilhete/m
lembrança: lembrança/f cartão-postal/m artesanato/m camiseta/f chaveiro/m
viagem: viagem/f passeio/m excursão/f férias/f+
tempo(unique): céu/m tempo/m dia/m noite/f tarde/f manhã/f
fenômeno: tempestade/f temporal/m chuva/f vento/m neblina/f geada/f trovão/m
região(unique): Sul/m Norte/m Nordeste/m Sudeste/m litoral/m interior/m
imagem: foto/f vídeo/m fotografia/f
mapa: mapa/m roteiro/m guia_de_viagem/m
abrigo(own): guarda-chuva/m capa/f casaco/m chapéu/m
voo: voo/m
via: via/f
transporte_de(bare): ônibus/m trem/m avião/m carro/m barco/m moto/f
transporte_em(place): ônibus/m trem/m táxi/m
mercado_turista(place): mercado/m feira/f aeroporto/m
quarto_só: quarto/m
mala_só(own): mala/f mochila/f
caminho_só(place): estrada/f rodovia/f serra/f
rua_só(place): rua/f
avenida_só(place): avenida/f
posto_gasolina(place): posto/m garagem/f
travessia(unique): ponte/f rio/m rua/f
pé_só(bare): pé/m
carro_só(bare): carro/m
morro(unique): morro/m serra/f montanha/f
mar_só(place): mar/m rio/m lagoa/f cachoeira/f
praia_só(place): praia/f
passeio_rua(unique): praia/f centro/m parque/m praça/f calçadão/m
origem(unique): história/f importância/f
previsão(unique): previsão_do_tempo/f
mochila_só(place): mochila/f bolsa/f
serra_só(place): serra/f
tempo_muda(unique): tempo/m
fenômeno_cai: tempestade/f temporal/m chuva/f
fenômeno_forte: tempestade/f temporal/m vento/m
derrubado: árvore/f poste/m muro/m telhado/m
neblina_só(unique): neblina/f
astro(unique): sol/m lua/f
céu_só(unique): céu/m
chuva_só(unique): chuva/f temporal/m
lugar_fica(place): centro/m praça/f serra/f
empresa(unique): empresa/f companhia/f
veículo_geral: veículo/m
"""

ADJECTIVES = """
turista: estrangeiro curioso cansado@ perdido@ animado@ satisfeito@ atrasado@ jovem
guia: simpático experiente paciente atencioso
motorista: cuidadoso experiente cansado@ educado apressado@
funcionário: educado atencioso simpático mal-humorado@
transporte: lotado@ atrasado@ confortável rápido velho moderno cheio@ vazio@
veículo: novo velho rápido caro sujo@ quebrado@ azul vermelho estacionado@ importado
lugar: lindo tranquilo distante bonito famoso cheio@ vazio@ deserto
monumento: antigo famoso bonito fechado@ aberto@ histórico cheio@
hospedagem: confortável barato caro simples limpo@ cheio@ lotado@ aconchegante
terminal: cheio@ moderno distante lotado@ fechado@
caminho: longo perigoso estreito molhado@ movimentado
bagagem: pesado leve perdido@ cheio@ novo
passagem: caro barato
lembrança: bonito barato caro
viagem: longo inesquecível cansativo curto divertido tranquilo
tempo: nublado@ claro@ frio@ quente@ bonito@ lindo@ úmido@ chuvoso@
fenômeno: forte fraco intenso repentino
imagem: bonito
mapa: antigo detalhado útil
abrigo: velho novo molhado@ preto
voo: atrasado@ longo cancelado@ tranquilo
"""

FRAMES = """
viajar | P turista | para cidade | de transporte_de.b ; com parente nome ; !nas férias ; !a trabalho ; !pela primeira vez
ir | P turista | para lugar | de transporte_de.b ; com parente nome ; !no feriado
visitar | P turista | *monumento.u | em cidade ; com guia ; !pela primeira vez ; !debaixo de sol
conhecer | P turista | *lugar.u monumento.u | em cidade ; com guia ; !durante a viagem
chegar | P turista transporte.d | a terminal | !com atraso ; !antes do amanhecer ; !às sete da noite
partir | transporte.d | de terminal | !às nove horas ; !com atraso ; !na hora certa ; !sem nós
atrasar | voo.d transporte.d | | !por causa da chuva ; !por causa da neblina ; !mais de duas horas
perder | P turista | *voo.d transporte.d bagagem.d | em terminal ; !por causa do trânsito
esperar | P turista | *transporte.d | em terminal ; !durante duas horas ; !debaixo de chuva
pegar | P turista | *transporte.i | em terminal ; !para o centro ; !depois do trabalho
comprar | P turista | *passagem.i passagem.q | para cidade ; !pela internet ; em terminal
comprar | P turista | *lembrança.i lembrança.q | em mercado_turista ; para parente ; !no último dia
reservar | P turista | *quarto_só.i | em hospedagem ; !com antecedência ; !para o feriado
hospedar-se | P turista | em hospedagem | em cidade ; !perto da praia ; !por uma semana
arrumar | P turista | *mala_só.d | !na véspera da viagem ; !em poucos minutos ; com parente
carregar | P funcionário | *bagagem.d | até terminal ; !com esforço ; para turista
dirigir | P motorista | *veículo.d | até cidade ; !com cuidado ; em caminho_só ; !a noite inteira
estacionar | P motorista | *veículo.d | em rua_só ; !na sombra ; !em frente ao hotel
alugar | P turista | *veículo.i | em cidade ; !por três dias ; !para o fim de semana
lavar | P motorista | *veículo.d | !no fim de semana ; em posto_gasolina
atravessar | P turista motorista | *travessia.d | a pé_só.b ; de carro_só.b ; !com medo
tirar | P turista | *imagem.p imagem.i | de monumento.u lugar.u ; !com o celular
subir | P turista | *morro.u | a pé_só.b ; com guia ; !antes do nascer do sol
nadar | P turista criança | | em mar_só ; !de manhã cedo ; !com medo das ondas
tomar_sol | P turista | | em praia_só ; !depois do almoço ; !sem protetor
passear | P turista | por passeio_rua.u | com parente nome ; !a pé ; !de bicicleta ; !no fim da tarde
mostrar | guia | *monumento.u mapa.d ; para turista.d | !com orgulho ; !durante o passeio
explicar | guia | *origem.d | de monumento.u ; para turista.d
atender | funcionário | *turista.d | em hospedagem terminal ; !com simpatia ; !em inglês
consultar | P turista motorista | *mapa.d previsão.d | !antes de sair ; !pelo celular
levar | P turista | *abrigo.d | para lugar ; !por causa da chuva ; em mochila_só
esquecer | P turista | *abrigo.d bagagem.d | em transporte_em hospedagem
chover | | | !muito ; em cidade ; !sem parar ; em região ; !forte
ventar | | | !muito ; em cidade ; em praia_só ; em região
nevar | | | !um pouco ; em serra_só
fazer_calor | | | em cidade ; em região ; !até de noite
fazer_frio | | | em serra_só ; em região ; !de madrugada
esfriar | tempo_muda | | !depois da chuva ; em região ; !de repente
mudar | tempo_muda | | !de repente ; !depois do almoço ; em serra_só
cair | fenômeno_cai.i | | sobre cidade ; !no fim da tarde ; em região ; !sem aviso
derrubar | fenômeno_forte.i | *derrubado.p | em cidade ; em região ; !durante a madrugada
fechar | neblina_só | *terminal.u caminho.u | !durante a manhã ; !por três horas
assustar | fenômeno_forte.d | *turista.d criança | !no meio da noite
brilhar | astro | | em céu_só ; !sobre o mar ; !depois da chuva
nascer | astro | | !atrás da serra ; !sobre o mar ; !cedo
inundar | chuva_só | *rua_só.d avenida_só.d | em cidade ; !em poucas horas
ficar~ | hospedagem.u monumento.u | em lugar_fica | !perto da praia ; em cidade
haver~ | | turista.q | em lugar monumento
planejar | P turista | *viagem.i | para região ; com parente ; !durante meses
adiar | P turista | *viagem.d | !por causa do tempo ; !para o mês seguinte
cancelar | P empresa | *viagem.d voo.d | !por causa da chuva ; !sem explicação
"""  # noqa: E501

SYNONYMS = """
avião aeronave
carro automóvel
tempestade temporal
estrada rodovia
turista viajante
adiar postergar
atravessar cruzar
"""

HYPERNYMS = """
veículo: carro moto caminhão ônibus táxi
via: rua avenida estrada
"""

"""Furniture of pages goes; sentences stay, also those that speak of furniture."""

import time

import pytest

from tinydistil.corpus.rules_lines import drop_boilerplate, drop_menus, is_boilerplate

FURNITURE = [
    "12/03/2014",
    "12 de março de 2014",
    "1º de maio de 1998.",
    "Segunda-feira, 5 de agosto de 2013, às 14h30",
    "31 de Agosto de 2015, 7:07 , por paulo soavinski - | No one following this article yet.",
    "Publicado em 12/03/2014 às 10:45",
    "Postado por Maria da Silva em 3 de junho de 2011",
    "Por João Souza | 12/03/2014",
    "Atualizado em 2014-03-12 10:45:33",
    "Compartilhe",
    "Compartilhar no Facebook",
    "Compartilhe isto: Facebook Twitter WhatsApp",
    "Facebook | Twitter | Google+",
    "Curta nossa página no Facebook",
    "Enviar por e-mail",
    "Imprimir",
    "Início | Notícias | Esportes | Contato",
    "Home » Blog » Receitas",
    "Página inicial",
    "Você está aqui: Início > Notícias",
    "Leia também:",
    "Saiba mais »",
    "Voltar ao topo",
    "Pular para o conteúdo principal",
    "3 comentários",
    "Nenhum comentário:",
    "Deixe um comentário",
    "Visualizado 202 vezes",
    "Tags: futebol, política, economia",
    "Categorias: Receitas",
    "Este site utiliza cookies para melhorar a sua experiência de navegação.",
    "Ao continuar navegando, você concorda com a nossa política de privacidade.",
    "Aceitar todos os cookies",
    "© 2014 Jornal da Cidade. Todos os direitos reservados.",
    "Copyright 2010 - Todos os direitos reservados",
    "Política de Privacidade",
    "Powered by WordPress",
    "Cadastre-se e receba novidades por e-mail",
    "Seu navegador não suporta o elemento de vídeo.",
    "Continua após a publicidade",
    "Assine a nossa newsletter",
]

SENTENCES = [
    "— Assine.",
    "Entre.",
    "Volte ao topo da montanha antes que anoiteça.",
    "O filme estreou em 12 de março de 2014 nos cinemas de todo o país.",
    "Em 12/03/2014, a empresa fechou as portas.",
    "Por isso, em 12 de março de 1888, ele partiu para sempre.",
    "Publicado em 12 de março de 1888, o livro foi um sucesso.",
    "Ele compartilhou a foto no Facebook e no Twitter.",
    "Nós usamos cookies para guardar a sessão do usuário no servidor.",
    "A política de privacidade da empresa mudou depois do escândalo.",
    "Você está aqui como testemunha e vai responder com a verdade.",
    "Você está aqui, já inscrita.",
    "Todos os direitos do homem estão reservados na lei.",
    "Por João, eu faria tudo outra vez.",
    "Dos três comentários, só um era gentil.",
    "Leia também o segundo capítulo, que explica o resto.",
    "Saiba mais do que os outros e fale menos.",
    "A fonte: um poço antigo no meio da praça.",
    "Direitos autorais são um tema difícil.",
    "x > y > z",
    "Às vezes chove.",
    "Sexta ele volta.",
    "Domingo foi um dia longo para todos nós.",
    "Deixe um comentário na folha que está sobre a mesa do diretor.",
    "Adicione um comentário acima do elemento p com este texto:",
    "No Opera: Exibir > Estilo > Escolher estilo",
    "— Sim | não | talvez, disse ela, e riu.",
]


@pytest.mark.parametrize("line", FURNITURE)
def test_furniture(line: str) -> None:
    assert is_boilerplate(line)


@pytest.mark.parametrize("line", SENTENCES)
def test_sentences_are_no_furniture(line: str) -> None:
    assert not is_boilerplate(line)


@pytest.mark.parametrize(
    "part", ["no ", "compartilhe no ", "facebook, ", "12/03/2014 ", "10:30, ", "| ", "por Ana ", "tags: "]
)
def test_hostile_lines_cost_little(part: str) -> None:
    start = time.perf_counter()
    for line in ((part * 60)[:119], f"compartilhe {part * 60}"[:119], f"publicado {part * 60}"[:118] + "x"):
        is_boilerplate(line)
    # Three lines take some 0.1 ms; a pattern that tries all ways would take years.
    assert time.perf_counter() - start < 1.0


def test_only_whole_lines_go() -> None:
    assert drop_boilerplate(["Imprimir", "Texto. Imprimir", "3 comentários"]) == ["Texto. Imprimir"]


def test_menus_are_long_runs_of_short_lines() -> None:
    menu = ["Início", "Notícias do dia", "Esportes", "Cultura", "Contato", "Sobre nós"]
    poem = ["Vai-se a primeira pomba despertada,", "Vai-se outra mais, mais outra, enfim dezenas"]
    dialogue = ["— Vem?", "— Não.", "— Por quê?", "— Porque não.", "— Ah!", "— Pois é."]
    prose = ["Uma frase inteira que termina com ponto."]

    def kept(lines: list[str]) -> list[str]:
        return drop_menus(lines)

    assert kept([*menu, *prose]) == prose and kept([*prose, *menu]) == prose and kept(menu) == []
    for lines in ([*menu[:5], *prose, *menu[:5]], poem * 4, dialogue, prose, []):
        assert kept(lines) == lines

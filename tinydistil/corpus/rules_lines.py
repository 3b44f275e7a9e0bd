"""Cleaning rules that take away lines which are no text: furniture of pages, and menus. Each is lines -> lines, pure.

Only short lines are looked at, and only as a whole: a sentence that speaks of cookies or of sharing is longer or goes
on differently, so it stays. The patterns match whole lines of Portuguese web pages. Each begins with one of a few
words; a look at the first word spares nearly every line the patterns, which halves the time of the rule.
"""

import re
from collections.abc import Sequence
from itertools import groupby, pairwise

# No furniture is longer, save cookie notices.
MAX_FURNITURE_CHARACTERS, MAX_NOTICE_CHARACTERS = 120, 400
# Seen from six lines on: tables of contents, casts, polls, link lists; in shorter runs, headings.
MENU_RUN_LINES, MENU_LINE_WORDS, MENU_LINE_CHARACTERS = 6, 4, 40

# A dash at the beginning is left alone, since it opens direct speech ("— Assine.").
_EDGES = " :;…»«›‹<>|•·*→←▲▼[]"
# Also what ends a list's item or a heading: those lines belong to a text.
_SENTENCE_END = (".", "!", "?", ":", ";", ",", "…", "”", '"', "»", ")")
_ITEM_MARK = re.compile(r"\s*[|•·»›]\s*|\s+>\s+")

_MONTH = (
    r"(?:janeiro|fevereiro|março|abril|maio|junho|julho|agosto|setembro|outubro|novembro|dezembro"
    r"|jan|fev|mar|abr|mai|jun|jul|ago|set|out|nov|dez)\.?"
)
_WEEKDAY = r"(?:(?:segunda|terça|quarta|quinta|sexta)(?:-feira)?|sábado|domingo|seg|ter|qua|qui|sex|sáb|dom)\.?"
_TIME = r"(?:(?:às|as|at) )?\d{1,2}(?::|h)(?:\d{2})?(?:min|:\d{2})?(?: ?h(?:oras|s)?| ?[ap]m)?"
_DAY = (
    rf"(?:\d{{1,2}}[/.-]\d{{1,2}}[/.-]\d{{2,4}}|\d{{4}}-\d{{2}}-\d{{2}}"
    rf"|\d{{1,2}}º?(?: de |[ /-]){_MONTH}(?:(?: de |, | |[/-])\d{{2,4}})?"
    rf"|{_MONTH} (?:de )?\d{{1,2}}, \d{{4}})"
)
_GAP = r"[\s,|/•·–—()-]*"
_STAMP = rf"(?:{_WEEKDAY}{_GAP})?{_DAY}(?:{_GAP}{_TIME})?"
# Capitals tell names from prose, so the patterns ignore case but for this one.
_NAME = r"(?-i:[A-ZÀ-Þ][\w.'’-]+(?: (?:d[aeo]s? |e )?[A-ZÀ-Þ][\w.'’-]+){0,4})"
_NETWORK = (
    r"(?:facebook|twitter|whats ?app|instagram|linkedin|pinterest|telegram|google ?\+|orkut|e-?mail|tumblr|reddit)"
)
_THING = r"página|artigo|post|notícia|matéria"
_THIS = rf"(?:ist[oa]|est[ea] (?:{_THING}|texto)|(?:a |o )?(?:{_THING}))"
_ISSUED = (
    r"(?:publicad[oa]|postad[oa]|atualizad[oa]|criad[oa]|modificad[oa]|enviad[oa]|escrit[oa]"
    r"|última (?:atualização|modificação)|data(?: de publicação)?)"
)

_PATTERNS = (
    # dates and by-lines
    rf"(?:{_STAMP}|{_WEEKDAY}|{_TIME}){_GAP}(?:{_TIME})?\.?",
    rf"{_ISSUED}(?: por:? {_NAME})?(?: (?:em|no dia|a))?[:\s,-]*{_STAMP}"
    rf"(?:{_GAP}(?:{_TIME}|por:? {_NAME}|{_ISSUED}[:\s]*(?:em )?{_STAMP}))*",
    rf"(?:{_ISSUED} )?(?:por|by):? {_NAME}{_GAP}(?:em )?{_STAMP}(?:{_GAP}{_TIME})?",
    rf"{_ISSUED} (?:por|by):? {_NAME}(?: às \d{{1,2}}[:h]\d{{2}})?",
    rf"{_STAMP}{_GAP}(?:{_ISSUED} )?(?:por|by):? {_NAME}",
    rf"{_STAMP}{_GAP}{_TIME}{_GAP}(?:por|by) .{{1,60}}",
    # sharing
    r"(?:compartilh(?:e|ar|amento)|curt(?:a|ir)|tuitar|tweet(?:ar)?|siga|share|like|pin it|recomendar?"
    rf"|indi(?:que|car))(?:-nos)?(?: {_THIS}| (?:para )?um amig[oa]| com (?:os )?(?:seus )?amigos)?"
    rf"(?:[\s:,|/•·-]*(?:(?:n[oa]|pel[oa]|via|on|por|ou|e|d[oa]) )*{_NETWORK})*",
    rf"(?:{_NETWORK}[\s,|/•·-]+)+(?:e |ou )?{_NETWORK}",
    rf"(?:envi(?:e|ar)|mand(?:e|ar)) (?:{_THIS} )?(?:por e-?mail|(?:para|a) um amigo)",
    r"(?:curta|siga)(?:-nos| a gente)? (?:n[oa]s? )?"
    r"(?:nossa página|redes sociais|facebook|twitter|instagram)[^.]{0,30}",
    r"imprimir|versão para impressão",
    r"clique (?:aqui )?para (?:compartilhar|imprimir|enviar por)[^.]{0,80}",
    # navigation
    r"home|início|página inicial|menu(?: principal)?|(?:buscar?|pesquisar?)(?: (?:neste|no) (?:blog|site))?",
    r"mapa do site|fale conosco|quem somos|contatos?|login|entrar|sair|cadastr(?:e-se|o)|registr(?:e-se|ar)",
    r"assine|navegação|voltar(?: (?:ao|para o) (?:topo|início)| à página (?:anterior|inicial))?|topo|rodapé",
    r"(?:(?:post|artigo|página) )?(?:anterior|seguinte|próxim[oa])(?: (?:post|artigo|página))?",
    r"postage(?:m|ns) mais (?:recentes?|antigas?)",
    r"(?:ir|pular|saltar) para o conteúdo(?: principal)?|você está (?:aqui|em):.{0,100}|skip to content",
    r"leia (?:mais|também|na íntegra)|(?:saiba|ver|veja|mostrar|carregar) (?:mais|também|tudo|todos)",
    r"continue lendo.{0,20}|clique aqui(?: para (?:ler|ver) mais)?|read more",
    # counters, comments, labels
    r"(?:\d+|nenhum|sem) (?:comentários?|respostas?|visualizações|curtidas?|compartilhamentos?"
    r"|leituras|votos?)",
    r"(?:visualizado|visto|lido|acessado|acessos|visitas|visualizações|hits):? ?[\d.]+(?: vez(?:es)?)?",
    r"(?:deixe|escreva|envie|adicione|faça)(?: (?:um|o|seu|uma))+ (?:comentário|resposta)(?: abaixo| aqui)?",
    r"responder|comentários?|comentar|cancelar resposta",
    r"(?:os )?campos obrigatórios (?:são|estão) marcados.{0,30}",
    r"o seu endereço de e-?mail não será publicado.{0,80}",
    r"(?:tags?|marcadores|categorias?|arquivado em|palavras-chave|etiquetas|seção|editoria|fonte|fotos?"
    r"|créditos?) ?: [^.]{0,100}",
    r"(?:avaliação|avalie|nota|classificação):? ?[\d★☆*][\d.,/★☆* -]{0,20}",
    r"no one (?:following|has commented).{0,40}",
    # notices of owners
    r"(?:copyright )?(?:©|\(c\)) ?(?:\d{4}|copyright|.{1,60}reserv).{0,100}|copyright \d{4}.{0,80}",
    r"todos os direitos reservados.{0,40}|all rights reserved.{0,20}",
    r"(?:powered by|desenvolvido por|produzido por|hospedado por|tecnologia|tema|theme) ?:? ?"
    r"(?:wordpress|blogger|joomla|drupal|.{0,30}\.com(?:\.br)?).{0,40}",
    r"política de (?:privacidade|cookies)|termos (?:de|e condições de) uso",
    r"publicidade|anúncios?|continua (?:após |depois d)a publicidade|propaganda|advertisement",
    r"(?:assine|receba|cadastre-se).{0,40}(?:newsletter|boletim|novidades|(?:por|no seu) e-?mail).{0,40}",
    r"(?:habilite|ative|é preciso (?:habilitar|ativar)) o javascript.{0,60}",
    r"seu navegador não (?:suporta|é compatível).{0,60}",
)
FURNITURE = re.compile("|".join(f"(?:{pattern})" for pattern in _PATTERNS), re.IGNORECASE)

# The first words of all the patterns above, in lower case; lines that begin with a digit are let through too.
_FIRST_WORDS = """
    jan fev mar abr mai jun jul ago set out nov dez janeiro fevereiro março abril maio junho julho agosto setembro
    outubro novembro dezembro segunda terça quarta quinta sexta segunda-feira terça-feira quarta-feira quinta-feira
    sexta-feira sábado domingo seg ter qua qui sex sáb dom às as at publicado publicada postado postada atualizado
    atualizada criado criada modificado modificada enviado enviada escrito escrita última data por by compartilhe
    compartilhar compartilhamento curta curtir tuitar tweet tweetar siga siga-nos curta-nos share like pin recomenda
    recomendar indique indicar facebook twitter whatsapp whats instagram linkedin pinterest telegram google google+
    orkut email e-mail tumblr reddit envie enviar mande mandar imprimir versão clique home início página menu busca
    buscar pesquisa pesquisar mapa fale quem contato contatos login entrar sair cadastre-se cadastro registre-se
    registrar assine navegação voltar topo rodapé post artigo anterior seguinte próximo próxima postagem postagens ir
    pular saltar você skip leia saiba ver veja mostrar carregar continue read nenhum sem visualizado visto lido acessado
    acessos visitas visualizações hits deixe escreva adicione faça responder comentários comentário comentar cancelar os
    campos o tags tag marcadores categoria categorias arquivado palavras-chave etiquetas seção editoria fonte foto fotos
    crédito créditos avaliação avalie nota classificação no copyright © (c) todos all powered desenvolvido produzido
    hospedado tecnologia tema theme política termos publicidade anúncio anúncios continua propaganda advertisement
    receba habilite ative é seu
"""
FIRST_WORDS = frozenset(_FIRST_WORDS.split())

# Prose about cookies does not court the reader, so one of the courting words must follow.
NOTICE = re.compile(
    r"(?:(?:este|nosso|o nosso) (?:site|portal|website|blog)|nós|usamos|utilizamos|a gente)\b.{0,60}"
    r"\bcookies\b.{0,150}\b(?:experiência|navega|concord|polític|privacidade|personaliz|anúnci|aceit).{0,180}"
    r"|(?:ao|se você) (?:continuar|prosseguir|seguir|acessar|usar|clicar).{0,80}"
    r"(?:concorda|aceita|está ciente).{0,60}(?:cookies|privacidade|termos).{0,150}"
    r"|(?:aceitar?|recusar|rejeitar|gerenciar|configurar)(?: todos)?(?: os)? cookies",
    re.IGNORECASE,
)


def drop_boilerplate(lines: Sequence[str]) -> list[str]:
    """Without dates, by-lines, sharing and navigation, counters, labels, cookie and copyright notices."""
    return [line for line in lines if len(line) > MAX_NOTICE_CHARACTERS or not is_boilerplate(line)]


def is_boilerplate(line: str) -> bool:
    """Whether the whole of `line` is furniture of a page, or a menu written in one line."""
    if len(line) <= MAX_FURNITURE_CHARACTERS:
        # Full stops stay: "Entrar." and "Assine." are somebody's words.
        bare = line.strip(_EDGES)
        first = bare.partition(" ")[0]
        if (first[:1].isdigit() or first.rstrip(":,.").lower() in FIRST_WORDS) and FURNITURE.fullmatch(bare):
            return True
    if "ookies" in line or "oncorda" in line:
        return NOTICE.fullmatch(line) is not None
    # A menu or a trail of links: "Início | Notícias | Contato", "Home » Blog » Bolos". A colon tells prose ("No Opera:
    # Exibir > Estilo > Escolher"); one letter tells formulas (x > y > z).
    if len(line) > MAX_FURNITURE_CHARACTERS or ":" in line or line.endswith(_SENTENCE_END):
        return False
    items = list(filter(None, _ITEM_MARK.split(line)))
    return len(items) >= 3 and all(2 <= len(item) <= 30 and len(item.split()) <= 4 for item in items)


def drop_menus(lines: Sequence[str]) -> list[str]:
    """Without runs of MENU_RUN_LINES or more lines of at most MENU_LINE_WORDS words that end like no sentence."""
    kept: list[str] = []
    for short, run in groupby(lines, _may_be_an_item):
        items = list(run)
        if not short or len(items) < MENU_RUN_LINES:
            kept += items
    return kept


def _may_be_an_item(line: str) -> bool:
    short = len(line) <= MENU_LINE_CHARACTERS and not line.endswith(_SENTENCE_END)
    return short and len(line.split()) <= MENU_LINE_WORDS


def drop_stutter(lines: Sequence[str]) -> list[str]:
    """Without lines that repeat one word: "ha ha ha ha", "null null null null", an annotation's tags."""
    return [line for line in lines if not _stutters(line)]


def _stutters(line: str) -> bool:
    # Bills fill the lines that they leave out with dots: ". . . . .".
    words = [word for word in line.split() if word[0].isalnum()]
    again = sum(first == second for first, second in pairwise(words))
    # Three times, so that "muito, muito, muito bom" is no stutter.
    return again >= 3 and 2 * again >= len(words) - 1

"""What an ordinary company calls its ads, and what people write to it, in its visitor's language.

The company of the tests has hostile names and texts on purpose (`simulator.company`); `ctwa demo`
shows them with `--nasty` only. Ids and money are the same in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from simulator.ads_state import AdsState
from simulator.google_state import GoogleState

Language = Literal["pt-BR", "es", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

# Hostile name -> the ordinary ones, in the order of LANGUAGES.
_NAMES: dict[str, tuple[str, str, str]] = {
    "Clínica Aurora — São Paulo": ("Clínica Aurora São Paulo",) * 3,
    'Aurora "US" & Co': ("Aurora New York",) * 3,
    "Clínica Aurora — Europe": ("Clínica Aurora Lisboa",) * 3,
    "Aurora Search — Brasil": ("Aurora Brasil",) * 3,
    'Aurora Search "US"': ("Aurora US",) * 3,
    "Botox | SP | CTWA": ("Botox | SP | CTWA", "Bótox | SP | CTWA", "Botox | SP | CTWA"),
    'Avaliação grátis 😀 — "julho"': (
        "Avaliação grátis | Julho", "Evaluación gratis | Julio", "Free check-up | July",
    ),
    "Preenchimento | SP | CTWA": (
        "Preenchimento | SP | CTWA", "Rellenos | SP | CTWA", "Fillers | SP | CTWA",
    ),
    "Mixed destinations": (
        "Harmonização | Site e WhatsApp", "Armonización | Sitio y WhatsApp",
        "Contouring | Website and WhatsApp",
    ),
    "Website only": ("Limpeza de pele | Site", "Limpieza facial | Sitio", "Facials | Website"),
    "US | Spanish | CTWA": ("EUA | Em espanhol", "EE. UU. | En español", "US | In Spanish"),
    "US | Retargeting": ("EUA | Remarketing", "EE. UU. | Remarketing", "US | Retargeting"),
    "Verão 2027 (new name)": ("Verão 2027", "Verano 2027", "Summer 2027"),
    "Verão 2026": ("Verão 2026", "Verano 2026", "Summer 2026"),
    "Not ours": ("Parceiro", "Socio", "Partner"),
    "made yesterday": ("Peeling | Lançamento", "Peeling | Lanzamiento", "Peels | Launch"),
    "Curitiba | no CRM": ("Curitiba | WhatsApp",) * 3,
    "Instant form": (
        "Avaliação | Formulário", "Evaluación | Formulario", "Check-up | Instant form",
    ),
    "Instant form of 2025": (
        "Botox 2025 | Formulário", "Bótox 2025 | Formulario", "Botox 2025 | Instant form",
    ),
    "carrossel v1": ("Carrossel: resultados", "Carrusel: resultados", "Carousel: results"),
    "vídeo 'antes/depois'": (
        "Vídeo: antes e depois", "Video: antes y después", "Video: before and after",
    ),
    "+10 vagas": ("Últimas 10 vagas", "Últimos 10 turnos", "Last 10 slots"),
    "@promo\tcom tab": ("Promoção de julho", "Promoción de julio", "July offer"),
    "spend, no leads": ("Foto da clínica", "Foto de la clínica", "Photo of the clinic"),
    "-1+1": ("Dois por um", "Dos por uno", "Two for one"),
    "archived in spring": ("Foto: primavera", "Foto: primavera", "Photo: spring"),
    "to WhatsApp or site": ("Depoimento da Paula", "Testimonio de Paula", "Paula's story"),
    "landing page": ("Página de agendamento", "Página de reservas", "Booking page"),
    'Hola "vecino"': ("Hola, vecino",) * 3,
    "emoji 🏥👩‍⚕️": ("Conheça a equipe", "Conoce al equipo", "Meet the team"),
    "back again": ("Volte quando quiser", "Vuelve cuando quieras", "Welcome back"),
    "deleted before the first sync": (
        "Vídeo: recepção", "Video: recepción", "Video: reception",
    ),
    "renamed between the nights": (
        "Verão: pele pronta", "Verano: piel lista", "Summer-ready skin",
    ),
    "before the rename": ("Verão: teste A", "Verano: prueba A", "Summer: test A"),
    "boosted post": ("Post impulsionado", "Publicación promocionada", "Boosted post"),
    "deleted before we ever looked": ("Foto: fachada", "Foto: fachada", "Photo: storefront"),
    "partner's ad": ("Anúncio do parceiro", "Anuncio del socio", "Partner's ad"),
    "nobody knows this id": ("Anúncio antigo", "Anuncio antiguo", "Old ad"),
    "carrossel v1 (new account)": ("Carrossel: Lisboa", "Carrusel: Lisboa", "Carousel: Lisbon"),
    "resolved a night late": ("Peeling: estreia", "Peeling: estreno", "Peels: first look"),
    "boosted post on Instagram": (
        "Post impulsionado no Instagram", "Publicación promocionada en Instagram",
        "Boosted post on Instagram",
    ),
    "só no chat": ("Agende pelo chat", "Reserva por chat", "Book in the chat"),
    "formulário: avaliação": (
        "Formulário: avaliação", "Formulario: evaluación", "Form: check-up",
    ),
    "formulário de 2025": ("Formulário: botox", "Formulario: bótox", "Form: botox"),
    "Marca | SP": ("Marca | SP", "Marca | SP", "Brand | SP"),
    'Pesquisa: "botox" 😀': ("Pesquisa | Botox", "Búsqueda | Bótox", "Search | Botox"),
    "Pesquisa: botox (velho)": (
        "Pesquisa | Botox 2025", "Búsqueda | Bótox 2025", "Search | Botox 2025",
    ),
    "PMax — tudo": (
        "Performance Max | Tudo", "Performance Max | Todo", "Performance Max | All",
    ),
    "US brand": ("EUA | Marca", "EE. UU. | Marca", "US | Brand"),
    "Display": ("Display",) * 3,
    "marca 1": ("Marca 1", "Marca 1", "Brand 1"),
    "marca 2": ("Marca 2", "Marca 2", "Brand 2"),
    "botox +clínica": ("Botox na clínica", "Bótox en la clínica", "Botox at the clinic"),
    "botox | preço": ("Botox: preço", "Bótox: precio", "Botox: price"),
    "aurora us": ("Aurora US",) * 3,
    "banner": ("Banner",) * 3,
    "Verão | 😀": ("Newsletter de verão", "Boletín de verano", "Summer newsletter"),
}  # fmt: skip

_HEADLINES: dict[Language, tuple[str, ...]] = {
    "pt-BR": (
        "Agende sua avaliação", "Fale com a gente", "Resultados reais", "Sua pele, sua escolha",
        "Horários esta semana", "Tire suas dúvidas", "Cuidado de verdade",
    ),
    "es": (
        "Agenda tu evaluación", "Habla con nosotros", "Resultados reales", "Tu piel, tu decisión",
        "Turnos esta semana", "Resuelve tus dudas", "Cuidado de verdad",
    ),
    "en": (
        "Book your check-up", "Talk to us", "Real results", "Your skin, your choice",
        "Slots this week", "Ask us anything", "Care that shows",
    ),
}  # fmt: skip
_BODIES: dict[Language, tuple[str, ...]] = {
    "pt-BR": ("Chame no WhatsApp e marque seu horário.", "Avaliação sem compromisso.",
              "Atendimento de segunda a sábado."),
    "es": ("Escríbenos por WhatsApp y reserva tu turno.", "Evaluación sin compromiso.",
           "Atención de lunes a sábado."),
    "en": ("Message us on WhatsApp and book your slot.", "No-obligation check-up.",
           "Open Monday to Saturday."),
}  # fmt: skip
_TEXTS: dict[Language, tuple[str, ...]] = {
    "pt-BR": (
        "Oi! Vi o anúncio e quero saber o preço", "Bom dia, ainda tem vaga esta semana?",
        "Quero agendar uma avaliação", "Vocês atendem aos sábados?", "Quanto custa?",
        "Olá, pode me explicar como funciona?", "Aceita cartão em quantas vezes?",
    ),
    "es": (
        "¡Hola! Vi el anuncio y quiero saber el precio", "Buenos días, ¿queda turno esta semana?",
        "Quiero reservar una evaluación", "¿Atienden los sábados?", "¿Cuánto cuesta?",
        "Hola, ¿me explican cómo funciona?", "¿Se puede pagar en cuotas?",
    ),
    "en": (
        "Hi! I saw your ad and would like to know the price", "Good morning, any slots this week?",
        "I'd like to book a check-up", "Are you open on Saturdays?", "How much is it?",
        "Hello, could you explain how it works?", "Can I pay in instalments?",
    ),
}  # fmt: skip
_PEOPLE: dict[Language, tuple[str, ...]] = {
    "pt-BR": ("Ana", "Bruno", "Carla", "Diego", "Elisa", "Fábio", "Gabriela", "João"),
    "es": ("Ana", "Bruno", "Carmen", "Diego", "Elisa", "Javier", "Lucía", "Mateo"),
    "en": ("Anna", "Ben", "Claire", "Daniel", "Emma", "Jack", "Lucy", "Olivia"),
}
_HOSTILE_TEXTS = (
    "Oi, vi o anúncio 👋",
    '=HYPERLINK("http://x","y")',
    "<script>alert('oi')</script>",
    "Olá \\ \"aspas\" 'e' /barras/",
    "quanto custa?\n\n\tobrigado",
    "",
    "مرحبا 你好 🇧🇷",
)
_HOSTILE_PEOPLE = (
    "Ana", "José d'Ávila", "=1+1", "<b>Bia</b>", "João 😀", 'O"Neil', "Zoë; --", "李雷",
)  # fmt: skip
_AD_SET: dict[Language, str] = {"pt-BR": "Público", "es": "Público", "en": "Audience"}
_GROUP: dict[Language, str] = {"pt-BR": "Grupo", "es": "Grupo", "en": "Group"}

_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Names:
    """How the company's things are called. Without a language: as hostile as they are.

    `texts`: what people write. `people`: what they are called. `refs`: values of a parameter in the
    addresses of the site's pages.
    """

    language: Language | None = None
    texts: tuple[str, ...] = _HOSTILE_TEXTS
    people: tuple[str, ...] = _HOSTILE_PEOPLE
    refs: tuple[str, ...] = ("a b", "é&", "<x>", "=")
    _known: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, language: Language) -> Names:
        """Ordinary names in this language."""
        place = LANGUAGES.index(language)
        known = {hostile: names[place] for hostile, names in _NAMES.items()}
        refs = ("home", "menu", "blog", "footer")
        return cls(language, _TEXTS[language], _PEOPLE[language], refs, known)

    def __call__(self, name: Any) -> Any:
        """The name that is shown in place of this one; other values stay as they are."""
        return self._known.get(name, name) if isinstance(name, str) else name

    def give_to(self, meta: AdsState, google: GoogleState) -> None:
        """Rename what the two APIs show, in place."""
        if self.language is None:
            return
        for thing in _named(meta, google):
            thing.name = self(thing.name)
        for ad_set in meta.adsets.values():
            ad_set.name = f"{_AD_SET[self.language]} {_number(ad_set.name)}"
        for group in google.ad_groups.values():
            group.name = f"{_GROUP[self.language]} {_number(group.name)}"
        for creative in meta.creatives.values():
            creative.title, creative.body = self.of_ad(creative.title or "", creative.body or "")

    def of_ad(self, headline: str, body: str) -> tuple[str, str]:
        """Headline and body that an ad shows in place of these."""
        if self.language is None:
            return headline, body
        n, headlines, bodies = _number(headline), _HEADLINES[self.language], _BODIES[self.language]
        return headlines[n % len(headlines)], bodies[n % len(bodies)]


HOSTILE = Names()


def language_of(wanted: str | None, environment: Mapping[str, str]) -> Language:
    """The language that was asked for, else the one of the locale, else English."""
    places = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = wanted or next((v for name in places if (v := environment.get(name))), "")
    return next((one for one in LANGUAGES if locale[:2] == one[:2]), "en")


def _named(meta: AdsState, google: GoogleState) -> Iterator[Any]:
    tables: tuple[Mapping[str, Any], ...] = (
        meta.accounts, meta.campaigns, meta.ads, google.customers, google.campaigns, google.ads,
    )  # fmt: skip
    for table in tables:
        yield from table.values()


def _number(text: str) -> int:
    found = _NUMBER.search(text)
    return int(found[0]) if found else 0

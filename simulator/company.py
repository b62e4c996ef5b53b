"""The synthetic company: business numbers, ad accounts, and ads in every state the APIs know.

Ids have 18 digits and are neighbours above 2^53, so that turning one into a float merges two
ads. Names are hostile on purpose: they must pass through every table and report as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AdKind = Literal["active", "paused", "archived", "deleted", "foreign", "gone"]


@dataclass(frozen=True, slots=True)
class BusinessNumber:
    """A WhatsApp number of the company, as `metadata` of a webhook names it."""

    waba_id: str
    phone_number_id: str
    display: str


@dataclass(frozen=True, slots=True)
class AccountRef:
    """An ad account; `zone` decides which day its money and its leads belong to."""

    account_id: str
    name: str
    currency: str
    zone: str
    platform: Literal["meta", "google"] = "meta"


@dataclass(frozen=True, slots=True)
class CampaignRef:
    """A campaign; `first_name` is its name before the rename between the two nights.

    Of Google's, `objective` is the channel type, and `daily_cents` what it spends without any ad.
    """

    campaign_id: str
    name: str
    account: AccountRef
    objective: str
    destination: str
    first_name: str | None = None
    daily_cents: int = 0


@dataclass(frozen=True, slots=True)
class AdRef:
    """An ad with its one ad set and creative. `foreign`: of a company that we cannot see.

    `gone`: no API knows it. `deleted`: no list shows it, its own id does. `story_id` and
    `instagram_id` are the posts that the ad shows, where it is a boosted one. `delivers`: from how
    many days before the world's end until how many. `is_new`: made just before the last night.
    """

    ad_id: str
    name: str
    adset_id: str
    creative_id: str
    campaign: CampaignRef
    kind: AdKind
    headline: str
    body: str
    media_type: Literal["image", "video"]
    popularity: int
    daily_budget_cents: int
    first_name: str | None = None
    story_id: str | None = None
    instagram_id: str | None = None
    delivers: tuple[int, int] = (10_000, 1)
    is_new: bool = False

    @property
    def is_resolved(self) -> bool:
        """Whether ad, ad set and campaign can be learned from the API."""
        return self.kind not in ("foreign", "gone")

    @property
    def platform(self) -> str:
        """Whose ad it is; with it an id is unique (E39)."""
        return self.campaign.account.platform


SAO_PAULO = AccountRef("1204090807060501", "Clínica Aurora — São Paulo", "BRL", "America/Sao_Paulo")
NEW_YORK = AccountRef("1204090807060502", 'Aurora "US" & Co', "USD", "America/New_York")
LISBON = AccountRef("1204090807060503", "Clínica Aurora — Europe", "EUR", "Europe/Lisbon")
"""An account's zone and currency never change: Meta makes a new account instead (E43)."""
FOREIGN = AccountRef("1204090807060599", "Somebody else", "BRL", "America/Sao_Paulo")

GOOGLE_BR = AccountRef("4402211001", "Aurora Search — Brasil", "BRL", "America/Sao_Paulo", "google")
GOOGLE_US = AccountRef("4402211002", 'Aurora Search "US"', "USD", "America/Los_Angeles", "google")
SITE_ID, SITE = "aurora", "https://www.aurora.example"
"""The company's site, with forms and a WhatsApp button."""

MAIN = BusinessNumber("104200000000001", "206600000000011", "551140028922")
SECOND = BusinessNumber("104200000000001", "206600000000012", "552140028933")
OTHER_WABA = BusinessNumber("104200000000002", "206600000000013", "12125550140")
MOVED = BusinessNumber("104200000000002", "206600000000014", MAIN.display)
"""The main number after its move to the other WABA: new ids, same display number (E30)."""

TEST_LINE = BusinessNumber("104200000000001", "206600000000015", "551140028999")
"""The agency's number for trying things out: excluded from counts (E20)."""

PLATFORM_TEST = BusinessNumber("0", "123456123", "16505551111")
"""Meta's own, which the Test button of the App Dashboard writes to: in no count (E84)."""

WITHOUT_CRM = BusinessNumber("104200000000003", "206600000000016", "554140028944")
"""A branch that sells in the chat and keeps no CRM: its rules say who qualified."""

PAGE_ID = "301200000000007"
"""The company's page; its instant forms lie below it, and its ads' posts."""
FORM_ID, OLD_FORM_ID = "900300200100001", "900300200100002"
"""An instant form, and one that is deleted just before the last night."""

NUMBERS = (MAIN, SECOND, OTHER_WABA)

_CAMPAIGN_BASE = 120226305854800726
_ADSET_BASE = 120226305854805726
_AD_BASE = 120226305854810726
_CREATIVE_BASE = 998877665544331001
STORY_ID = f"{PAGE_ID}_120226305854899001"
POST_ID = "120226305854899001"
"""The post of `STORY_ID`, as a referral names it: two ads show it."""
INSTAGRAM_ID = "17895695668004550"
"""One ad shows this one."""
OTHER_POST_ID = "120226305854899002"
"""No ad shows this one."""

IN_LISBON, NEW_AD = "carrossel v1 (new account)", "resolved a night late"
_OF_BRANCH = "só no chat"
_OF_FORM, _OF_OLD_FORM = "formulário: avaliação", "formulário de 2025"


def _campaigns() -> list[CampaignRef]:
    rows: list[tuple[str, AccountRef, str, str, str | None]] = [
        ("Botox | SP | CTWA", SAO_PAULO, "OUTCOME_ENGAGEMENT", "WHATSAPP", None),
        ('Avaliação grátis 😀 — "julho"', SAO_PAULO, "OUTCOME_LEADS", "WHATSAPP", None),
        ("Preenchimento | SP | CTWA", SAO_PAULO, "OUTCOME_ENGAGEMENT", "WHATSAPP", None),
        ("Mixed destinations", SAO_PAULO, "OUTCOME_SALES", "MESSAGING_INSTAGRAM_WHATSAPP", None),
        ("Website only", SAO_PAULO, "OUTCOME_TRAFFIC", "WEBSITE", None),
        ("US | Spanish | CTWA", NEW_YORK, "OUTCOME_ENGAGEMENT", "WHATSAPP", None),
        ("US | Retargeting", NEW_YORK, "OUTCOME_SALES", "WHATSAPP", None),
        ("Verão 2027 (new name)", SAO_PAULO, "OUTCOME_LEADS", "WHATSAPP", "Verão 2026"),
        ("Not ours", FOREIGN, "OUTCOME_LEADS", "WHATSAPP", None),
        # The same names as the first campaign's, in the account that came after its own.
        ("Botox | SP | CTWA", LISBON, "OUTCOME_ENGAGEMENT", "WHATSAPP", None),
        ("made yesterday", SAO_PAULO, "OUTCOME_ENGAGEMENT", "WHATSAPP", None),
        ("Curitiba | no CRM", SAO_PAULO, "OUTCOME_ENGAGEMENT", "WHATSAPP", None),
        ("Instant form", SAO_PAULO, "OUTCOME_LEADS", "ON_AD", None),
        # From before ad sets had a destination: their goal says it.
        ("Instant form of 2025", SAO_PAULO, "LEAD_GENERATION", "UNDEFINED", None),
    ]
    return [
        CampaignRef(str(_CAMPAIGN_BASE + i), name, account, objective, destination, before)
        for i, (name, account, objective, destination, before) in enumerate(rows)
    ]


def _ads(campaigns: list[CampaignRef]) -> list[AdRef]:
    # campaign, name, kind, popularity (weight among ordinary leads), daily budget in cents
    rows: list[tuple[int, str, AdKind, int, int]] = [
        (0, "carrossel v1", "active", 9, 8_000),
        (0, "carrossel v1", "active", 7, 6_050),  # a duplicate: same name, texts and link
        (0, "vídeo 'antes/depois'", "active", 5, 4_999),
        (1, "+10 vagas", "active", 6, 7_525),
        (1, "@promo\tcom tab", "paused", 2, 1_100),
        (1, "spend, no leads", "active", 0, 3_333),
        (2, "-1+1", "active", 4, 2_718),
        (2, "archived in spring", "archived", 2, 1_999),
        (3, "to WhatsApp or site", "active", 3, 4_400),
        (4, "landing page", "active", 0, 5_001),
        (5, 'Hola "vecino"', "active", 6, 5_555),
        (5, "emoji 🏥👩‍⚕️", "active", 4, 3_001),
        (6, "back again", "active", 3, 2_222),
        (6, "deleted before the first sync", "deleted", 1, 907),
        (7, "renamed between the nights", "active", 4, 3_210),
        (7, "boosted post", "active", 1, 1_250),
        (0, "deleted before we ever looked", "deleted", 1, 1_433),
        (8, "partner's ad", "foreign", 1, 0),
        (8, "nobody knows this id", "gone", 1, 0),
        (9, IN_LISBON, "active", 2, 2_345),
        (10, NEW_AD, "active", 0, 1_777),
        (7, "boosted post on Instagram", "active", 1, 1_099),
        (11, _OF_BRANCH, "active", 0, 2_100),
        (12, _OF_FORM, "active", 0, 2_900),
        (13, _OF_OLD_FORM, "active", 0, 1_150),
    ]
    delivers = {
        "archived in spring": (10_000, 20),  # stopped; its leads still arrive (E47)
        "@promo\tcom tab": (18, 1),
        IN_LISBON: (25, 1),
        NEW_AD: (1, 1),
    }
    ads: list[AdRef] = []
    for i, (campaign, name, kind, popularity, budget) in enumerate(rows):
        texts = 0 if i == 1 else i
        # Two ads to an ad set, each ad set in one campaign.
        sibling = sum(ad.campaign is campaigns[campaign] for ad in ads)
        ads.append(
            AdRef(
                ad_id=str(_AD_BASE + i),
                name=name,
                adset_id=str(_ADSET_BASE + campaign * 10 + sibling // 2),
                creative_id=str(_CREATIVE_BASE + i),
                campaign=campaigns[campaign],
                kind=kind,
                headline=f"Fale conosco {texts}",
                # Nasty where no visitor of the demo looks: names of campaigns are ordinary.
                body=f"=cmd()|\U0001f44b {texts} <script>alert(1)</script>'); DROP TABLE ads--",
                media_type="video" if i % 3 == 2 else "image",
                popularity=popularity,
                daily_budget_cents=budget,
                first_name="before the rename" if name.startswith("renamed") else None,
                story_id=STORY_ID if name.startswith("boosted post") else None,
                instagram_id=INSTAGRAM_ID if name.endswith("Instagram") else None,
                delivers=delivers.get(name, (10_000, 1)),
                is_new=name == NEW_AD,
            )
        )
    return ads


def _google_campaigns() -> list[CampaignRef]:
    # The first has the id of a campaign of Meta's (E39).
    rows: list[tuple[str, AccountRef, str, int, str | None]] = [
        (str(_CAMPAIGN_BASE), GOOGLE_BR, "SEARCH", 0, None),
        ("21900000001", GOOGLE_BR, "SEARCH", 0, "Pesquisa: botox (velho)"),
        ("21900000002", GOOGLE_BR, "PERFORMANCE_MAX", 3_900, None),
        ("21900000003", GOOGLE_US, "SEARCH", 0, None),
        ("21900000004", GOOGLE_US, "DISPLAY", 350, None),
    ]
    names = (
        "Marca | SP", 'Pesquisa: "botox" 😀', "PMax — tudo", "US brand", "Display",
    )  # fmt: skip
    return [
        CampaignRef(campaign_id, name, account, kind, "", before, cents)
        for name, (campaign_id, account, kind, cents, before) in zip(names, rows, strict=True)
    ]


def _google_ads(campaigns: list[CampaignRef]) -> list[AdRef]:
    # campaign, ad group, name, popularity, daily budget in cents
    rows: list[tuple[int, str, str, int, int]] = [
        (0, "154000000001", "marca 1", 5, 2_200),
        (0, "154000000001", "marca 2", 3, 1_310),
        (1, "154000000002", "botox +clínica", 6, 5_420),
        (1, "154000000003", "botox | preço", 4, 3_003),
        (3, "154000000004", "aurora us", 4, 1_890),
        (4, "154000000005", "banner", 1, 240),
    ]
    return [
        AdRef(
            # The first has the id of an ad of Meta's (E39).
            ad_id=str(_AD_BASE if i == 0 else 698000000000 + i),
            name=name,
            adset_id=group,
            creative_id="",
            campaign=campaigns[campaign],
            kind="active",
            headline=f"Aurora {i}",
            body="",
            media_type="image",
            popularity=popularity,
            daily_budget_cents=budget,
        )
        for i, (campaign, group, name, popularity, budget) in enumerate(rows)
    ]


CAMPAIGNS = _campaigns()
ADS = _ads(CAMPAIGNS)
WITHOUT_CRM_AD = next(ad for ad in ADS if ad.name == _OF_BRANCH)
"""It leads to the branch's number; nobody else comes by it."""
FORM_AD = next(ad for ad in ADS if ad.name == _OF_FORM)
OLD_FORM_AD = next(ad for ad in ADS if ad.name == _OF_OLD_FORM)
"""Ads that lead to instant forms: by their ad set's destination, and by its goal."""
FORM_DESTINATIONS = ("ON_AD", "UNDEFINED")
GOOGLE_CAMPAIGNS = _google_campaigns()
GOOGLE_ADS = _google_ads(GOOGLE_CAMPAIGNS)
PMAX = GOOGLE_CAMPAIGNS[2]
"""Without ads: its spend and its leads stay with the campaign."""
ACCOUNTS = (SAO_PAULO, NEW_YORK, LISBON)
GOOGLE_ACCOUNTS = (GOOGLE_BR, GOOGLE_US)


def ad_of_kind(kind: AdKind, account: AccountRef | None = None) -> AdRef:
    """The first ad in this state (and account); the stories name what they need, not an index."""
    for ad in ADS:
        if ad.kind == kind and account in (None, ad.campaign.account) and ad.popularity:
            return ad
    raise LookupError(f"the company has no {kind} ad in {account}")


def ad_named(name: str) -> AdRef:
    """The first ad of this (current) name."""
    return next(ad for ad in ADS if ad.name == name)

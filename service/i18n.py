"""The words of the page and the commands: English, and Indonesian. Pure.

What was measured stays as the health part says it; a text without a translation is shown in English.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

Language: TypeAlias = Literal["en", "id"]
Words: TypeAlias = Callable[[str], str]
"""An English text in the chosen language."""

LANGUAGES: Final[Mapping[Language, str]] = {"en": "English", "id": "Bahasa Indonesia"}

INDONESIAN: Final[Mapping[str, str]] = {
    # the score
    "healthy": "sehat",
    "warning": "peringatan",
    "critical": "kritis",
    "of 100": "dari 100",
    "no issues": "tidak ada masalah",
    "issue": "masalah",
    "issues": "masalah",
    "threshold": "ambang",
    "points": "poin",
    "up": "aktif",
    "Monitoring is switched off: nothing is collected.": "Pemantauan dimatikan: tidak ada yang dikumpulkan.",
    "Nothing has been collected yet.": "Belum ada yang dikumpulkan.",
    "No answer since": "Tidak ada jawaban sejak",
    # sections
    "The last hour": "Satu jam terakhir",
    "Alerts": "Peringatan aktif",
    "Redis": "Redis",
    "Queues": "Antrean",
    "Scaling": "Penskalaan",
    "Endpoints": "Endpoint",
    "Sources": "Sumber",
    "Background": "Latar belakang",
    # plots
    "Score": "Skor",
    "Waiting": "Menunggu",
    "Done a minute": "Selesai per menit",
    "Wait, p95": "Waktu tunggu, p95",
    "Workers": "Worker",
    "not known": "tidak diketahui",
    "most": "maks",
    # tables
    "Node": "Node",
    "Role": "Peran",
    "State": "Status",
    "Lag": "Lag",
    "Memory": "Memori",
    "Clients": "Klien",
    "Commands/s": "Perintah/dtk",
    "Hit rate": "Rasio hit",
    "Queue": "Antrean",
    "Active": "Aktif",
    "Delayed": "Tertunda",
    "Failed": "Gagal",
    "Done/min": "Selesai/mnt",
    "Errors": "Galat",
    "Run, p95": "Waktu proses, p95",
    "Oldest": "Tertua",
    "Load": "Beban",
    "paused": "dijeda",
    "cannot be read": "tidak dapat dibaca",
    "Target": "Target",
    "Current": "Saat ini",
    "Wanted": "Diinginkan",
    "Ready": "Siap",
    "Why": "Mengapa",
    "by hand": "manual",
    "until": "sampai",
    "Endpoint": "Endpoint",
    "Response": "Respons",
    "well": "baik",
    "fails": "gagal",
    "not asked yet": "belum diperiksa",
    "Source": "Sumber",
    "Took": "Durasi",
    "Thread": "Thread",
    "Last done": "Terakhir",
    "Failures": "Kegagalan",
    "at work": "bekerja",
    "late": "terlambat",
    "ago": "lalu",
    "ok": "baik",
    "partial": "sebagian",
    "failed": "gagal",
    "off": "mati",
    "down": "mati",
    "unhealthy": "tidak sehat",
    "Alert": "Peringatan",
    "Severity": "Tingkat",
    "since": "sejak",
    "none fires": "tidak ada yang aktif",
    "switched off: nothing is changed": "dimatikan: tidak ada yang diubah",
    # the queue table
    "Search": "Cari",
    "queue or prefix": "antrean atau prefiks",
    "of": "dari",
    "queues": "antrean",
    "Previous": "Sebelumnya",
    "Next": "Berikutnya",
    "No queue is called so.": "Tidak ada antrean dengan nama itu.",
    "No queue was found yet.": "Belum ada antrean yang ditemukan.",
    # signing in
    "Key": "Kunci",
    "Sign in": "Masuk",
    "Sign out": "Keluar",
    "This page asks for the key of the API.": "Halaman ini meminta kunci API.",
    "This is not the key.": "Ini bukan kuncinya.",
    "Too many wrong keys: try again later.": "Terlalu banyak kunci salah: coba lagi nanti.",
    # links
    "for Prometheus": "untuk Prometheus",
    "this page as data": "halaman ini sebagai data",
    "alive": "hidup",
    "ready": "siap",
    "the API": "API",
    # issues
    "Redis cannot be reached": "Redis tidak dapat diakses",
    "A Redis node is unhealthy": "Ada node Redis yang tidak sehat",
    "Slots of the cluster have no owner": "Ada slot cluster tanpa pemilik",
    "Redis memory is high": "Memori Redis tinggi",
    "The queue system does not respond": "Sistem antrean tidak merespons",
    "Many jobs failed": "Banyak job gagal",
    "Counters of jobs are too low": "Penghitung job terlalu rendah",
    "The host is short of memory": "Memori host hampir habis",
    "The load is high": "Beban tinggi",
    "The exporter's memory is high": "Memori exporter tinggi",
    "A source could not be read": "Ada sumber yang tidak dapat dibaca",
    "An endpoint fails its probe": "Ada endpoint yang gagal diperiksa",
    # the commands' tables
    "node": "node",
    "role": "peran",
    "shard": "shard",
    "state": "status",
    "memory": "memori",
    "of max": "dari maks",
    "clients": "klien",
    "ops/s": "perintah/dtk",
    "hits": "hit",
    "version": "versi",
    "queue": "antrean",
    "waiting": "menunggu",
    "active": "aktif",
    "delayed": "tertunda",
    "prioritized": "prioritas",
    "children": "anak",
    "completed": "selesai",
    "workers": "worker",
    "oldest": "tertua",
    "longest": "terlama",
    "load": "beban",
    "done/min": "selesai/mnt",
    "errors": "galat",
    "wait p50": "tunggu p50",
    "wait p95": "tunggu p95",
    "run p50": "proses p50",
    "run p95": "proses p95",
    "source": "sumber",
    "took": "durasi",
    "what it says": "keterangan",
    "target": "target",
    "bounds": "batas",
    "ready (workers)": "siap",
    "wait": "tunggu",
    "conditions": "kondisi",
    "last decision": "keputusan terakhir",
    "the first step is not done yet": "langkah pertama belum selesai",
    "no targets are set": "tidak ada target yang diatur",
    "scaling is switched off: nothing is changed": "penskalaan dimatikan: tidak ada yang diubah",
    "dry run: nothing is changed": "uji coba: tidak ada yang diubah",
    "another scaler leads: this one changes nothing": "scaler lain memimpin: yang ini tidak mengubah apa pun",
}


_ADVICE: Final[tuple[tuple[str, str], ...]] = (
    (
        "Check that Redis runs and that this host reaches it: {0}.",
        "Periksa apakah Redis berjalan dan dapat dijangkau dari host ini: {0}.",
    ),
    (
        "Look at the process and the log of {0}, and at what a node that answers says: {1}.",
        "Lihat proses dan log {0}, serta apa kata node yang menjawab: {1}.",
    ),
    ("See which slots, and who had them: {0}.", "Lihat slot yang mana dan siapa pemiliknya tadi: {0}."),
    (
        "See what fills it: {0}; trim with removeOnComplete, or raise the limit.",
        "Lihat apa yang memenuhinya: {0}; pangkas dengan removeOnComplete, atau naikkan batasnya.",
    ),
    (
        "Give the exporter's Redis user what deploy/redis/exporter.acl lists; what it was refused: {0}.",
        "Beri pengguna Redis milik exporter izin yang ada di deploy/redis/exporter.acl; yang ditolak: {0}.",
    ),
    ("Bring Redis back first; the queues follow.", "Pulihkan Redis dahulu; antrean akan menyusul."),
    ("See what Redis is busy with: {0}.", "Lihat apa yang membuat Redis sibuk: {0}."),
    (
        "Mend why they fail, then retry them. The newest job: {0}; its reason: {1}.",
        "Perbaiki penyebab gagalnya, lalu coba lagi. Job terbaru: {0}; alasannya: {1}.",
    ),
    (
        "Give the exporter more CPU, or the queue a longer stream: {0}.",
        "Beri exporter lebih banyak CPU, atau antrean stream yang lebih panjang: {0}.",
    ),
    (
        "See which process grew: {0}; stop it or give the machine more memory.",
        "Lihat proses mana yang membesar: {0}; hentikan atau tambah memori mesin.",
    ),
    (
        "See what runs or waits for disk: {0}.",
        "Lihat apa yang berjalan atau menunggu disk: {0}.",
    ),
    (
        "Raise the exporter's memory limit, or narrow BULLMQ_QUEUES.",
        "Naikkan batas memori exporter, atau persempit BULLMQ_QUEUES.",
    ),
    (
        "See the exporter's log; host.enabled: false switches the host's part off.",
        "Lihat log exporter; host.enabled: false mematikan bagian host.",
    ),
    (
        "Look at the endpoint itself: docs/probes.md says what each failure means.",
        "Periksa endpoint itu sendiri: docs/probes.md menjelaskan arti setiap kegagalan.",
    ),
)
"""What to do about issues, with what stays as it is: commands, addresses, names."""

_PATTERNS: Final = tuple(
    (re.compile(re.sub(r"\\\{\d\\\}", "(.+?)", re.escape(english)), re.DOTALL), other)
    for english, other in _ADVICE
)


def words(language: Language) -> Words:
    """The translator into a language."""
    return _indonesian if language == "id" else _english


def _english(text: str) -> str:
    return text


def _indonesian(text: str) -> str:
    if (found := INDONESIAN.get(text)) is not None:
        return found
    for pattern, other in _PATTERNS:
        if (match := pattern.fullmatch(text)) is not None:
            return other.format(*match.groups())
    return text


def preferred(accept: str | None) -> Language:
    """What an Accept-Language header asks for: the best of those that there are, English by default."""
    best: tuple[float, int, Language] | None = None
    for index, part in enumerate((accept or "").split(",")[:50]):
        tag, _, parameters = part.strip().partition(";")
        language = tag.partition("-")[0].lower()
        weight = _weight(parameters)
        if weight <= 0 or language not in ("en", "id", "in"):  # "in" is what it once was called
            continue
        found: Language = "en" if language == "en" else "id"
        if best is None or weight > best[0]:
            best = (weight, index, found)
    return best[2] if best else "en"


def of_locale(environ: Mapping[str, str]) -> Language:
    """What the environment of a command asks for, by LC_ALL, LC_MESSAGES or LANG."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environ.get(name):
            return "id" if environ[name].split("_")[0].split(".")[0].lower() in ("id", "in") else "en"
    return "en"


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, float(value))
    except ValueError:
        return 0.0

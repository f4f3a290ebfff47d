//! The page's words in its two languages.

use model::{SourceError, Timestamp};

/// All texts of the page in one language.
pub(super) struct Words {
    pub(super) code: &'static str,
    pub(super) other_code: &'static str,
    pub(super) other_name: &'static str,
    pub(super) tagline: &'static str,
    not_ready: &'static str,
    unseen: &'static str,
    pub(super) down_now: &'static str,
    pub(super) nothing_down: &'static str,
    pub(super) what: &'static str,
    pub(super) name: &'static str,
    pub(super) place: &'static str,
    pub(super) since: &'static str,
    pub(super) agent_silent: &'static str,
    pub(super) target_down: &'static str,
    pub(super) and_more: &'static str,
    pub(super) watched: &'static str,
    pub(super) agents: &'static str,
    pub(super) targets: &'static str,
    pub(super) slowest: &'static str,
    pub(super) asked_by: &'static str,
    pub(super) took: &'static str,
    pub(super) store: &'static str,
    pub(super) on_disk: &'static str,
    pub(super) a_day: &'static str,
    pub(super) full_in: &'static str,
    pub(super) never_full: &'static str,
    pub(super) damaged: &'static str,
    pub(super) see_log: &'static str,
    pub(super) disk_full: &'static str,
    pub(super) not_writing: &'static str,
    pub(super) most_series: &'static str,
    pub(super) series: &'static str,
    pub(super) metric: &'static str,
    pub(super) next: &'static str,
    pub(super) grafana: &'static str,
    pub(super) try_it: &'static str,
    pub(super) add_agent: &'static str,
    pub(super) gaps: &'static str,
    unknown: &'static str,
    decimal: &'static str,
    units: [&'static str; 4],
}

const ENGLISH: Words = Words {
    code: "en",
    other_code: "id",
    other_name: "Bahasa Indonesia",
    tagline: "watches hosts, devices and services",
    not_ready: "Not ready yet: the store is replaying its journal. This page tries again by itself.",
    unseen: "What is down cannot be said",
    down_now: "Down right now",
    nothing_down: "Nothing that is watched is down.",
    what: "What",
    name: "Name",
    place: "Region, site",
    since: "For",
    agent_silent: "Agent silent",
    target_down: "Target down",
    and_more: "More rows than fit here:",
    watched: "Watched",
    agents: "Agents",
    targets: "Targets",
    slowest: "Slowest devices",
    asked_by: "Asked by",
    took: "Last round",
    store: "The store",
    on_disk: "on disk",
    a_day: "a day",
    full_in: "the disk is full in",
    never_full: "retention keeps it from filling the disk",
    damaged: "Found damaged at the start:",
    see_log: "the log says which files, and the rest is served",
    disk_full: "The disk is full: nothing is taken in, and senders keep their data.",
    not_writing: "Nothing is written until a restart",
    most_series: "Most series",
    series: "Active series",
    metric: "Metric",
    next: "What next",
    grafana: "In Grafana, add a data source of type Prometheus with this page's address and the HTTP method POST.",
    try_it: "try it",
    add_agent: "enrols another machine and prints the one line to run there",
    gaps: "shows which spans are missing, and why",
    unknown: "unknown",
    decimal: ".",
    units: ["s", "min", "h", "d"],
};

const INDONESIAN: Words = Words {
    code: "id",
    other_code: "en",
    other_name: "English",
    tagline: "memantau server, perangkat, dan layanan",
    not_ready: "Belum siap: penyimpanan sedang membaca ulang jurnalnya. Halaman ini mencoba lagi sendiri.",
    unseen: "Apa yang mati tidak dapat dikatakan",
    down_now: "Yang sedang mati",
    nothing_down: "Tidak ada yang mati di antara yang dipantau.",
    what: "Apa",
    name: "Nama",
    place: "Wilayah, lokasi",
    since: "Selama",
    agent_silent: "Agen diam",
    target_down: "Target mati",
    and_more: "Baris lain yang tidak muat di sini:",
    watched: "Yang dipantau",
    agents: "Agen",
    targets: "Target",
    slowest: "Perangkat paling lambat",
    asked_by: "Ditanya oleh",
    took: "Putaran terakhir",
    store: "Penyimpanan",
    on_disk: "di disk",
    a_day: "per hari",
    full_in: "disk penuh dalam",
    never_full: "retensi menjaga agar disk tidak penuh",
    damaged: "Ditemukan rusak saat mulai:",
    see_log: "log menyebut berkasnya, sisanya tetap dilayani",
    disk_full: "Disk penuh: tidak ada yang diterima, dan pengirim menyimpan datanya.",
    not_writing: "Tidak ada yang ditulis sampai dimulai ulang",
    most_series: "Series terbanyak",
    series: "Series aktif",
    metric: "Metrik",
    next: "Langkah berikutnya",
    grafana: "Di Grafana, tambahkan sumber data jenis Prometheus dengan alamat halaman ini dan metode HTTP POST.",
    try_it: "coba",
    add_agent: "mendaftarkan mesin lain dan mencetak satu baris yang dijalankan di sana",
    gaps: "menunjukkan rentang waktu yang hilang, dan sebabnya",
    unknown: "tidak diketahui",
    decimal: ",",
    units: ["detik", "menit", "jam", "hari"],
};

impl Words {
    /// The language asked for, else the first of the browser's that we speak, else English.
    pub(super) fn choose(asked: Option<&str>, accept_language: &str) -> &'static Self {
        let named = |code: &str| match code.split('-').next().unwrap_or_default() {
            "id" | "in" => Some(&INDONESIAN),
            "en" => Some(&ENGLISH),
            _ => None,
        };
        let browser =
            accept_language.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
        asked.into_iter().chain(browser).find_map(named).unwrap_or(&ENGLISH)
    }

    /// Why there is nothing to say of targets and devices.
    pub(super) fn unseen(&self, why: &SourceError) -> String {
        match why {
            SourceError::NotReady(_) => self.not_ready.to_owned(),
            SourceError::Unreadable(_) | SourceError::TooLarge(_) => format!("{}: {why}", self.unseen),
        }
    }

    /// A span in seconds.
    pub(super) fn seconds(&self, seconds: f64) -> String {
        format!("{} {}", format!("{seconds:.2}").replace('.', self.decimal), self.units[0])
    }

    /// A size, to three digits.
    pub(super) fn size(&self, bytes: f64) -> String {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut unit = 0;
        let mut size = bytes.max(0.0);
        while size >= 1000.0 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        let digits = if unit == 0 || size >= 100.0 {
            0
        } else if size >= 10.0 {
            1
        } else {
            2
        };
        format!("{} {}", format!("{size:.digits$}").replace('.', self.decimal), UNITS[unit])
    }

    /// A number of days, in days.
    pub(super) fn days(&self, days: f64) -> String {
        let digits = usize::from(days < 10.0);
        format!("{} {}", format!("{days:.digits$}").replace('.', self.decimal), self.units[3])
    }

    /// How long ago a moment was, in one unit.
    pub(super) fn since(&self, moment: Option<Timestamp>, now: Timestamp) -> String {
        let Some(moment) = moment else { return self.unknown.to_owned() };
        let seconds = now.millis_since(moment).max(0) / 1000;
        let (count, unit) = match seconds {
            0..120 => (seconds, 0),
            120..7_200 => (seconds / 60, 1),
            7_200..172_800 => (seconds / 3_600, 2),
            _ => (seconds / 86_400, 3),
        };
        format!("{count} {}", self.units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_asked_for_else_the_browsers() {
        for (asked, accepted, expected) in [
            (Some("id"), "en", "id"),
            (None, "id-ID,id;q=0.9,en;q=0.8", "id"),
            (None, "fr, en;q=0.5", "en"),
            (Some("xx"), "", "en"),
        ] {
            assert_eq!(Words::choose(asked, accepted).code, expected, "{asked:?} {accepted:?}");
        }
    }

    #[test]
    fn sizes_and_days_are_told_to_few_digits() {
        let told = [0.0, 999.0, 1000.0, 20.0 * 1024.0 * 1024.0, 3e11, 5e15].map(|bytes| ENGLISH.size(bytes));
        assert_eq!(told, ["0 B", "999 B", "0.98 KiB", "20.0 MiB", "279 GiB", "4547 TiB"]);
        assert_eq!(INDONESIAN.size(1536.0), "1,50 KiB");
        assert_eq!([ENGLISH.days(3.25), ENGLISH.days(412.7)], ["3.2 d", "413 d"]);
    }

    #[test]
    fn spans_are_told_in_one_unit() {
        let told = |seconds: i64| {
            ENGLISH.since(Some(Timestamp::from_millis(0)), Timestamp::from_millis(seconds * 1000))
        };
        assert_eq!([told(5), told(300), told(7200), told(259_200)], ["5 s", "5 min", "2 h", "3 d"]);
        assert_eq!(INDONESIAN.since(None, Timestamp::MIN), "tidak diketahui");
    }
}

//! Medians and how they compare.

use std::time::Duration;

/// What was measured, as often as it was.
#[derive(Default)]
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    pub(crate) fn add(&mut self, taken: Duration) {
        self.0.push(taken);
    }

    /// Those of others too.
    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The value below which `percent` of all lie.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }
}

/// Prints one path beside its bare alternative.
pub(crate) fn compare(path: &str, ours: &Figures, bare_name: &str, bare: &Figures) {
    let (ours_50, bare_50) = (ours.percentile(50), bare.percentile(50));
    println!("{path}");
    println!("  ours       p50 {:>9.1?}  p95 {:>9.1?}", ours_50, ours.percentile(95));
    println!("  {bare_name:<10} p50 {:>9.1?}  p95 {:>9.1?}", bare_50, bare.percentile(95));
    println!(
        "  ratio of p50 {:.2}, added {:.1?}\n",
        ours_50.as_secs_f64() / bare_50.as_secs_f64(),
        ours_50.saturating_sub(bare_50)
    );
}

/// Several ways beside each other, in columns.
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<f64>)>,
    notes: Vec<String>,
}

impl Table {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { title: title.to_owned(), columns, rows: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn row(&mut self, name: &str, figures: &[f64]) {
        self.rows.push((name.to_owned(), figures.to_vec()));
    }

    pub(crate) fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    /// Prints the table and what it should show.
    pub(crate) fn print(&self, aim: &str) {
        println!("{}", self.title);
        print!("  {:<14}", "");
        self.columns.iter().for_each(|column| print!(" {column:>14}"));
        println!();
        for (name, figures) in &self.rows {
            print!("  {name:<14}");
            for figure in figures {
                let digits = if figure.abs() < 10.0 { 2 } else { 0 };
                print!(" {figure:>14.digits$}");
            }
            println!();
        }
        self.notes.iter().for_each(|note| println!("  {note}"));
        println!("  {aim}\n");
    }
}

//! A job's progress while it is followed: a live line on a terminal, a line per step elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::job::Job;
use super::output::{Ui, complain};
use super::render::jobs::about;
use super::render::text::{clean, duration};

/// How long a remark on what a job waits for is left standing before the next of the same step is written.
const REMARK_EVERY: Duration = Duration::from_secs(10);

/// Time from one drawing of the live line to the next.
const TICK: Duration = Duration::from_millis(120);

/// How a job's progress is shown.
pub enum Progress {
    /// Not at all.
    Silent,
    /// A line per step, and the time when following began.
    Lines(Lines, Instant),
    /// A live line.
    Live(ProgressBar),
}

impl Progress {
    /// The way that `ui` wants it.
    pub fn new(ui: &Ui) -> Self {
        if ui.json || ui.quiet {
            Self::Silent
        } else if ui.live {
            // Not ticking yet: there is nothing to be shown before the job was read once.
            Self::Live(ProgressBar::new(1000).with_style(style(false)))
        } else {
            Self::Lines(Lines::default(), Instant::now())
        }
    }

    /// Shows where the job stands.
    pub fn show(&mut self, job: &Job) {
        match self {
            Self::Silent => {}
            Self::Lines(lines, since) => {
                for line in lines.update(job, since.elapsed()) {
                    complain(&line);
                }
            }
            Self::Live(bar) => {
                let per_mille = job.progress.and_then(per_mille);
                bar.set_style(style(per_mille.is_some()));
                bar.set_prefix(format!("job {}: {}", job.id, about(job)));
                bar.set_message(message(job));
                bar.set_position(per_mille.unwrap_or(0));
                bar.enable_steady_tick(TICK);
            }
        }
    }

    /// A remark beside the progress.
    pub fn note(&self, text: &str) {
        match self {
            Self::Silent => {}
            Self::Lines(..) => complain(text),
            Self::Live(bar) => bar.println(text),
        }
    }

    /// Takes the live line away.
    pub fn end(&self) {
        if let Self::Live(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn style(with_bar: bool) -> ProgressStyle {
    let template = if with_bar {
        "{spinner} {prefix} [{bar:12}] {wide_msg} {elapsed}"
    } else {
        "{spinner} {prefix} {wide_msg} {elapsed}"
    };
    ProgressStyle::with_template(template).map_or_else(
        |_| ProgressStyle::default_bar(),
        |style| style.progress_chars("=> "),
    )
}

/// A fraction as thousandths; `None` if it is not a number.
fn per_mille(fraction: f64) -> Option<u64> {
    let part = Duration::try_from_secs_f64(fraction.clamp(0.0, 1.0)).ok()?;
    u64::try_from(part.as_millis()).ok()
}

/// What the live line says of the step.
fn message(job: &Job) -> String {
    let step = clean(&job.step);
    match job.waiting.as_str() {
        "" => step.into_owned(),
        waiting => format!("{step}: waits for {}", clean(waiting)),
    }
}

/// Turns looks at a job into lines: one when it is first seen, one for each step when it is over with the time that
/// it took, one now and then for what a step waits for.
#[derive(Debug, Default)]
pub struct Lines {
    begun: bool,
    step: String,
    step_since: Duration,
    remark: Option<(String, Duration)>,
}

impl Lines {
    /// The lines that are due; `now` counts from when following began.
    pub fn update(&mut self, job: &Job, now: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        let id = job.id;
        if !self.begun {
            self.begun = true;
            lines.push(format!("job {id}: {}", about(job)));
        }
        let over = job.is_finished() || job.step != self.step;
        if over && !self.step.is_empty() {
            let took = u64::try_from(now.saturating_sub(self.step_since).as_millis()).unwrap_or(u64::MAX);
            lines.push(format!("job {id}: {} ({})", clean(&self.step), duration(took)));
            self.step.clear();
        }
        if job.is_finished() {
            return lines;
        }
        if job.step != self.step {
            self.step.clone_from(&job.step);
            self.step_since = now;
            self.remark = None;
        }
        let due = match &self.remark {
            None => !job.waiting.is_empty(),
            Some((text, at)) => !job.waiting.is_empty() && *text != job.waiting && now >= *at + REMARK_EVERY,
        };
        if due {
            self.remark = Some((job.waiting.clone(), now));
            lines.push(format!(
                "job {id}: {}: waits for {}",
                clean(&job.step),
                clean(&job.waiting)
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::jobs::tests::running;

    fn at(step: &str, waiting: &str) -> Job {
        Job {
            step: step.into(),
            waiting: waiting.into(),
            ..running()
        }
    }

    #[test]
    fn every_step_gets_a_line_with_its_time_when_it_is_over() {
        let mut lines = Lines::default();
        let ms = Duration::from_millis;
        assert_eq!(
            lines.update(&at("", ""), ms(0)),
            ["job 7: move web from g1 to g2"]
        );
        assert!(lines.update(&at("stage", ""), ms(100)).is_empty());
        assert!(lines.update(&at("stage", ""), ms(300)).is_empty());
        assert_eq!(lines.update(&at("start", ""), ms(500)), ["job 7: stage (0.4 s)"]);
        let done = Job {
            result: "done".into(),
            ..at("start", "")
        };
        assert_eq!(lines.update(&done, ms(1500)), ["job 7: start (1.0 s)"]);
        assert!(lines.update(&done, ms(1600)).is_empty());
    }

    #[test]
    fn what_a_step_waits_for_is_told_at_once_and_then_now_and_then() {
        let mut lines = Lines::default();
        let s = Duration::from_secs;
        lines.update(&at("drain", ""), s(0));
        assert_eq!(
            lines.update(&at("drain", "60 s more"), s(1)),
            ["job 7: drain: waits for 60 s more"]
        );
        assert!(lines.update(&at("drain", "59 s more"), s(2)).is_empty());
        assert_eq!(
            lines.update(&at("drain", "50 s more"), s(11)),
            ["job 7: drain: waits for 50 s more"]
        );
        assert!(
            lines.update(&at("drain", "50 s more"), s(30)).is_empty(),
            "the same is not told twice"
        );
    }

    #[test]
    fn a_job_that_was_over_when_first_seen_gets_one_line() {
        let done = Job {
            result: "done".into(),
            ..at("record", "")
        };
        assert_eq!(Lines::default().update(&done, Duration::ZERO).len(), 1);
    }

    #[test]
    fn fractions_become_thousandths() {
        for (fraction, part) in [
            (0.0, Some(0)),
            (0.5, Some(500)),
            (1.0, Some(1000)),
            (7.0, Some(1000)),
            (-1.0, Some(0)),
            (f64::NAN, None),
        ] {
            assert_eq!(per_mille(fraction), part, "{fraction}");
        }
    }
}

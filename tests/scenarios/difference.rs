//! How two logs differ, for people: the lines of the longest common order of lines are kept, the others marked.

/// Lines around what differs that are shown too.
const AROUND: usize = 2;

/// `-` stands only in the first, `+` only in the second.
pub fn of(wanted: &str, got: &str) -> String {
    let (wanted, got): (Vec<&str>, Vec<&str>) = (wanted.lines().collect(), got.lines().collect());
    // common[i][j]: how many lines wanted[i..] and got[j..] have in common, in order.
    let mut common = vec![vec![0_usize; got.len() + 1]; wanted.len() + 1];
    for i in (0..wanted.len()).rev() {
        for j in (0..got.len()).rev() {
            common[i][j] = if wanted[i] == got[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let mut lines = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < wanted.len() || j < got.len() {
        if i < wanted.len() && j < got.len() && wanted[i] == got[j] {
            lines.push((' ', wanted[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == got.len() || (i < wanted.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', wanted[i]));
            i += 1;
        } else {
            lines.push(('+', got[j]));
            j += 1;
        }
    }
    let near = |at: usize| {
        let range = at.saturating_sub(AROUND)..(at + AROUND + 1).min(lines.len());
        lines[range].iter().any(|(mark, _)| *mark != ' ')
    };
    let mut out = String::new();
    let mut left_out = false;
    for (at, (mark, line)) in lines.iter().enumerate() {
        if near(at) {
            out.push_str(&format!("{mark} {line}\n"));
            left_out = false;
        } else if !std::mem::replace(&mut left_out, true) {
            out.push_str("  …\n");
        }
    }
    out
}

#[test]
fn lines_that_differ_are_marked_with_those_around_them() {
    let got = of("a\nb\nc\nd\ne\nf\ng\n", "a\nb\nc\nd\nx\nf\ng\n");
    assert_eq!(got, "  …\n  c\n  d\n- e\n+ x\n  f\n  g\n");
    assert_eq!(of("a\n", "a\nb\n"), "  a\n+ b\n");
}

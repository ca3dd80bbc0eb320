//! Long lines on narrow terminals.

use awqdeploy::cli::terminal::{TextStyle, plain, styled, wrapped};
use insta::assert_snapshot;
use proptest::prelude::*;

const TEXT: &str = "awq (generation 2) does not serve\n  why not                  the engine ended by itself: the GPU is out of memory while it loads the weights of the model\n  API                      http://127.0.0.1:8000\n  unit                     a-name-that-is-as-long-as-systemd-allows-and-longer-than-any-terminal.service\nwarning: 3 requests were thrown away and made anew: this host is so busy that it stalled the measuring itself\n";

#[test]
fn lines_go_on_at_words() {
    assert_snapshot!(wrapped(TEXT, 60), @r"
    awq (generation 2) does not serve
      why not                  the engine ended by itself: the
                               GPU is out of memory while it
                               loads the weights of the model
      API                      http://127.0.0.1:8000
      unit
                               a-name-that-is-as-long-as-systemd-allows-and-longer-than-any-terminal.service
    warning: 3 requests were thrown away and made anew: this
      host is so busy that it stalled the measuring itself
    ");
    assert_snapshot!(wrapped(TEXT, 80), @r"
    awq (generation 2) does not serve
      why not                  the engine ended by itself: the GPU is out of memory
                               while it loads the weights of the model
      API                      http://127.0.0.1:8000
      unit
                               a-name-that-is-as-long-as-systemd-allows-and-longer-than-any-terminal.service
    warning: 3 requests were thrown away and made anew: this host is so busy that it
      stalled the measuring itself
    ");
    assert_eq!(wrapped(TEXT, 200), TEXT);
}

#[test]
fn colours_take_no_room() {
    let coloured = styled(&format!("{}{}{:#} and more", TextStyle::Bad, "a".repeat(60), TextStyle::Bad));
    assert_eq!(wrapped(&coloured, 69), coloured);
    assert!(wrapped(&coloured, 68).contains('\n'));
}

proptest! {
    /// Nothing is lost, and no line is longer than it must be.
    #[test]
    fn nothing_is_lost(words in prop::collection::vec("[a-z`:,]{1,30}", 0..40), width in 20_usize..130, row in any::<bool>()) {
        let text = words.join(" ");
        let text = if row { format!("  {:<24} {text}", "name") } else { text };
        let folded = wrapped(&text, width);
        let back = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        prop_assert_eq!(back(&plain(&folded)), back(&text));
        for line in folded.lines().filter(|line| line.trim().contains(' ')) {
            prop_assert!(line.trim_end().len() <= width, "{line:?}");
        }
    }
}

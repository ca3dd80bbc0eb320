//! The texts whose probabilities every model is asked for.
//!
//! Together they have some 640 tokens: prose, code, facts, German and Chinese, a list to copy, and what no text has: the
//! tokens of the chat template and rows of every quarter of the vocabulary. More come where those leave a doubt.

use super::TEXT;

/// A named text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its name in reports.
    pub name: &'static str,
    /// The text. All of them were written for this purpose, so that no model has learned them by heart.
    pub said: &'static str,
}

/// The texts that every model is asked for.
pub const BASE: [Text; 6] = [
    Text { name: "prose", said: TEXT },
    Text { name: "code", said: CODE },
    Text { name: "german", said: GERMAN },
    Text { name: "facts", said: FACTS },
    Text { name: "chinese", said: CHINESE },
    Text { name: "copy", said: COPY },
];

/// The texts for where [`BASE`] leaves a doubt, in order.
pub const FURTHER: [Text; 5] = [
    Text { name: "table", said: TABLE },
    Text { name: "json", said: JSON },
    Text { name: "letter", said: LETTER },
    Text { name: "recipe", said: RECIPE },
    Text { name: "french", said: FRENCH },
];

const CODE: &str = r#"import csv
from collections import defaultdict


def totals(path: str, column: str = "amount") -> dict[str, float]:
    """Sum a column of a CSV file by the name in its first field."""
    result = defaultdict(float)
    with open(path, newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                result[row["name"]] += float(row[column])
            except (KeyError, ValueError) as error:
                raise SystemExit(f"{path}:{number}: {error}") from error
    return dict(result)
"#;

const GERMAN: &str = "Der Hafenmeister führte zwei Bücher. In das erste schrieb er, was die Schiffe angaben, in das zweite, \
    was er selbst gesehen hatte. Dreißig Jahre lang stimmten sie so gut überein, dass niemand nach dem zweiten fragte.";

const FACTS: &str = "Question: What is the capital of Italy?\nAnswer: Rome\n\nQuestion: Which element has the symbol Na?\n\
    Answer: sodium\n\nQuestion: Who painted the Mona Lisa?\nAnswer: Leonardo da Vinci\n\nQuestion: What is 6 times 7?\n\
    Answer: 42\n\nQuestion: Which planet is closest to the Sun?\nAnswer: Mercury\n\nQuestion: What do bees make?\n\
    Answer: honey\n\nQuestion: How many legs does a spider have?\nAnswer: eight\n";

const CHINESE: &str = "港口的管理员有两本账簿。第一本记录船只申报的货物，第二本记录他亲眼所见。三十年来，两本账簿几乎完全一致，\
    所以没有人要求查看第二本。";

const COPY: &str = "The seven crates on the quay were marked, from left to right, K7-amber, Q2-cobalt, T9-ivory, B4-olive, \
    M1-scarlet, Z8-teal and H5-umber. In the evening the clerk read the marks again, in the same order: K7-amber, \
    Q2-cobalt, T9-ivory, B4-olive, M1-scarlet, Z8-teal and H5-umber.";

const TABLE: &str = "month,ships,barrels,wool\nJanuary,12,340,25\nFebruary,14,395,31\nMarch,19,512,44\nApril,23,640,52\n\
    May,27,755,61\n\nThe five months together had 95 ships, 2642 barrels and 213 bales. 12 + 14 = 26, 26 + 19 = 45, \
    45 + 23 = 68, 68 + 27 = 95. The square of 12 is 144, and 144 divided by 9 is 16. Half of 512 is 256.\n";

const JSON: &str = r#"{"service": "harbour", "ledger": 12, "entries": [{"name": "barrels", "verdict": "agrees", "count": 340}, {"name": "bales", "verdict": "agrees", "count": 25}, {"name": "crew", "verdict": "differs", "count": 9, "detail": "ten were seen"}], "differences": ["crew: ten were seen"], "weight": {"median": 11.8, "low": 11.2, "high": 12.1, "n": 5}}"#;

const LETTER: &str = "Dear Mr. Alder,\n\nthank you for your letter of the third. We have looked through the ledgers for the \
    spring, and cannot find the shipment that you describe; a vessel of that name did lie at the northern quay for \
    two nights, but it declared ballast only, and nobody saw anything unloaded. If you still have the receipt, please \
    send us a copy of both sides. Until then we can neither confirm nor deny your claim, and must ask for your \
    patience.\n\nYours sincerely,\nE. Marsh, for the harbour office\n";

const RECIPE: &str = "For the bread, stir the yeast into lukewarm water and wait until it foams. Mix the flour with the salt, \
    make a hollow in the middle, and pour the water in. Knead it for ten minutes, until the dough no longer sticks to \
    the board. Cover it and let it rise in a warm place for an hour. Then fold it twice, shape a loaf, let it rest \
    again, and bake it in a hot oven until the crust is dark and it sounds hollow when you knock on it.";

const FRENCH: &str = "Le maître du port tenait deux livres. Dans le premier, il écrivait ce que les navires déclaraient ; dans \
    le second, ce qu'il avait vu lui-même. Pendant trente ans, les deux s'accordaient si bien que personne ne \
    demandait à voir le second.";

/// Rows of the vocabulary in a prompt of them, and how often they come: the second time they are there to be copied, so
/// that the model's answer touches them too.
const ROW_COUNT: u64 = 24;
const ROW_TIMES: usize = 2;

/// Rows of every quarter of the vocabulary, up to the greatest token that was seen, between which lie equal steps; then
/// those of a conversation. What texts say touches hardly any beyond the first quarter.
pub fn rows(greatest: u32, conversation: &[u32]) -> Vec<u32> {
    let step = |index: u64| u32::try_from((2 * index + 1) * u64::from(greatest) / (2 * ROW_COUNT));
    let rows: Vec<u32> = (0..ROW_COUNT).filter_map(|index| step(index).ok()).collect();
    [rows.repeat(ROW_TIMES), conversation.to_vec()].concat()
}

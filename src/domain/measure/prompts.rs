//! The prompts of measured requests: different from each other, as those of users are, and the same for every server.
//!
//! Requests with one text and another label share what they read: on a model of many experts, eight such streams ran at
//! 261 tokens/s where eight different ones ran at 70 (docs/benchmarks.md).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`SENTENCES`] and of the way they are drawn.
const SET: u32 = 1;

/// The seed of the draw: the baseline and its candidate get the same texts.
const SEED: u64 = 25;

/// The characters of a short prompt: some sixty tokens.
pub const SHORT: usize = 270;

/// Where prompts come from: two measurements with the same source sent the same texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PromptSource {
    /// The version of the sentences and of the drawing.
    pub set: u32,
    /// The seed of the drawing.
    pub seed: u64,
}

impl PromptSource {
    /// The source of the prompts of this version.
    pub const NOW: Self = Self { set: SET, seed: SEED };

    /// The text of the request of this name: sentences in an order of its own, up to the word that reaches so many
    /// `characters`. Each comes once before any comes again.
    pub fn text(self, name: &str, characters: usize) -> String {
        let mut chance = Chance::of(self.seed, name);
        let mut text = String::with_capacity(characters + SENTENCES[0].len());
        while text.len() < characters {
            let mut order: Vec<&str> = SENTENCES.to_vec();
            while !order.is_empty() && text.len() < characters {
                let sentence = order.swap_remove(chance.below(order.len()));
                for word in sentence.split_inclusive(' ') {
                    text.push_str(word);
                    if text.len() >= characters {
                        break;
                    }
                }
                text.push(' ');
            }
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// A number above 0 and up to 1, the same for the same name.
    pub fn uniform(self, name: &str) -> f64 {
        let mut chance = Chance::of(self.seed, name);
        (chance.below(UNIFORM_STEPS) as f64 + 1.0) / UNIFORM_STEPS as f64
    }
}

/// How fine numbers are that are drawn.
const UNIFORM_STEPS: usize = 1 << 31;

/// Numbers that are the same for the same seed and name: `SplitMix64` (Steele, Lea and Flood 2014).
struct Chance(u64);

impl Chance {
    fn of(seed: u64, name: &str) -> Self {
        // FNV-1a, 64 bits.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
        Self(seed ^ hash)
    }

    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % count as u64).unwrap_or(0)
    }
}

/// Subjects as users have them: many fields, some code, figures, a few languages.
const SENTENCES: &[&str] = &[
    "The wind turned north in the morning, and the ships at anchor swung round to face it.",
    "Whisk three eggs with 40 g of sugar until the mixture is pale, then fold in the flour.",
    "The tenant shall give notice in writing no later than three months before the end of the term.",
    "fn area(width: f64, height: f64) -> f64 { width * height }",
    "Der Zug nach Hamburg fährt heute zwölf Minuten später von Gleis 7 ab.",
    "A fever above 39 degrees that lasts for more than two days should be seen by a doctor.",
    "SELECT name, SUM(amount) FROM orders WHERE year = 2024 GROUP BY name ORDER BY 2 DESC;",
    "In the second half the home side pressed higher, and the goal came from a corner.",
    "La bibliothèque ferme à dix-huit heures, sauf le jeudi où elle reste ouverte plus tard.",
    "Prune the roses in late winter, just above a bud that points outwards.",
    "Quarterly revenue rose by 4.2 % to 318 million, while costs for energy fell slightly.",
    "The telescope collects infrared light, which dust in the galaxy hardly absorbs.",
    "for line in open(path): total += int(line.split(',')[2])",
    "Our flight was cancelled last Friday, and I would like to ask for a refund of both tickets.",
    "The proof goes by induction on n, and the case n = 1 is clear.",
    "El mercado abre temprano, y los mejores tomates se acaban antes de las nueve.",
    "Tighten the four bolts crosswise with 25 Nm, then check the chain for play.",
    "Once upon a time a miller had three sons, a mill, a donkey and a cat.",
    "git rebase --interactive HEAD~3 lets you reorder, squash or drop the last commits.",
    "The treaty of 1648 ended thirty years of war and redrew the map of the continent.",
    "Dear Ms Okafor, thank you for your application and for the time you took last week.",
    "Sodium reacts with water to form sodium hydroxide and hydrogen, and gives off heat.",
    "She tuned the low string down a tone and played the slow movement once more.",
    "{\"id\": 4711, \"status\": \"shipped\", \"items\": [{\"sku\": \"A-12\", \"count\": 3}]}",
    "Mix one part of cement with three parts of sand, and wet the bricks before you lay them.",
    "Bees find their way by the sun, and tell each other in a dance where they have been.",
    "The defendant denies that any contract was made on the twelfth of March.",
    "Il treno delle 14:35 per Bologna è in ritardo di venti minuti per un guasto alla linea.",
    "Translate the following into plain English, and keep the names as they are:",
    "While the kettle boiled he read the letter again, and then put it into the stove.",
    "Error: connection refused by 10.0.0.5 port 5432, retrying in 8 seconds.",
    "A good opening controls the centre, brings out the knights and gets the king to safety.",
    "The river carries some 300 tons of gravel past this bridge in a year of floods.",
    "def mean(values): return sum(values) / len(values)",
    "Children under six travel free, and dogs need half a ticket on all regional trains.",
    "The painting was cleaned in 1987, when a second figure came to light behind the door.",
    "Which of these three phones has the best camera for less than 400 euros, and why?",
    "Ocean currents bring warm water to the coast, so that its harbours never freeze.",
    "#include <stdio.h> int main(void) { puts(\"hello\"); return 0; }",
    "Interest is paid on the last day of each month at a rate of 3.75 % a year.",
];

//! Questions with known answers, for telling a model that works from one that only runs.
//!
//! Any instruction-tuned model of a few billion parameters answers all of them; weights that were damaged,
//! quantised with a wrong scale or run by a wrong kernel answer none. The questions gate nothing unless a
//! profile asks for it (`min-known-answers`), because tiny random test models are wrong by nature.

use std::time::Duration;

/// The version of the set. A newer one only adds questions at the end: stored answers are compared by their
/// place.
pub(crate) const VERSION: u32 = 2;

/// The most tokens of an answer: enough for a sentence around it.
pub(crate) const MAX_TOKENS: u32 = 48;

/// The time for all questions: with the probabilities of a text after them, two minutes. At 5 tokens/s there
/// is time for all of them if answers are as short as they should be, and for ten that are as long as they
/// can be.
pub const TIME: Duration = Duration::from_secs(105);

/// The fewest questions, however slow the server is: with fewer not even losing all of them would be shown.
pub const FEWEST: usize = 5;

/// The time for all questions where those that were asked left a doubt.
pub const TIME_IN_DOUBT: Duration = Duration::from_secs(210);

/// Whether `time` suffices for another question, if its answer takes as long as the longest of these did.
pub fn is_time_for_another(taken: &[Duration], time: Duration) -> bool {
    let longest = taken.iter().max().copied().unwrap_or_default();
    taken.len() < FEWEST || taken.iter().sum::<Duration>() + longest <= time
}

/// A question and what counts as its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The user message.
    pub ask: &'static str,
    /// Answers that count as right. The first is the shortest natural one.
    pub answers: &'static [&'static str],
}

/// The questions, in the order in which they are asked. None contains its own answer, so that an echo
/// is not right. With thirty, five that are lost beside a baseline are more than chance explains.
pub const QUESTIONS: [Question; 30] = [
    Question { ask: "What is the capital of France? Answer with one word.", answers: &["Paris"] },
    Question { ask: "What is 7 times 8? Answer with the number only.", answers: &["56", "fifty-six"] },
    Question { ask: "What is the opposite of hot? Answer with one word.", answers: &["cold"] },
    Question {
        ask: "Which planet of our solar system is the largest? Answer with its name only.",
        answers: &["Jupiter"],
    },
    Question { ask: "What is the chemical symbol of gold? Answer with the symbol only.", answers: &["Au"] },
    Question { ask: "How many days does a leap year have? Answer with the number only.", answers: &["366"] },
    Question {
        ask: "Which number comes next: 2, 4, 8, 16? Answer with the number only.",
        answers: &["32", "thirty-two"],
    },
    Question {
        ask: "Who wrote the play Romeo and Juliet? Answer with the name only.",
        answers: &["Shakespeare"],
    },
    Question { ask: "What is the French word for thank you? Answer with one word.", answers: &["merci"] },
    Question {
        ask: "Which colour do you get by mixing blue and yellow paint? Answer with one word.",
        answers: &["green"],
    },
    Question { ask: "What is the capital of Japan? Answer with one word.", answers: &["Tokyo"] },
    Question { ask: "What is 9 times 9? Answer with the number only.", answers: &["81", "eighty-one"] },
    Question {
        ask: "How many sides does a hexagon have? Answer with the number only.",
        answers: &["6", "six"],
    },
    Question {
        ask: "Which metal is liquid at room temperature? Answer with its name only.",
        answers: &["mercury", "quicksilver"],
    },
    Question { ask: "What is the past tense of the verb to go? Answer with one word.", answers: &["went"] },
    Question { ask: "What is the German word for water? Answer with one word.", answers: &["Wasser"] },
    Question {
        ask: "Which ocean lies between Europe and North America? Answer with its name only.",
        answers: &["Atlantic"],
    },
    Question {
        ask: "What does the Python expression 2 ** 10 evaluate to? Answer with the number only.",
        answers: &["1024", "1,024"],
    },
    Question {
        ask: "Which gas do plants take from the air for photosynthesis? Answer with its name only.",
        answers: &["carbon dioxide", "CO2", "CO₂"],
    },
    Question { ask: "Which day comes two days after Monday? Answer with one word.", answers: &["Wednesday"] },
    Question {
        ask: "What is the square root of 169? Answer with the number only.",
        answers: &["13", "thirteen"],
    },
    Question { ask: "What is the plural of mouse, the animal? Answer with one word.", answers: &["mice"] },
    Question {
        ask: "Which instrument has 88 black and white keys? Answer with one word.",
        answers: &["piano"],
    },
    Question {
        ask: "How many minutes are there in three hours? Answer with the number only.",
        answers: &["180"],
    },
    Question {
        ask: "Which organ pumps blood through the human body? Answer with one word.",
        answers: &["heart"],
    },
    Question {
        ask: "In which year did a human first walk on the Moon? Answer with the number only.",
        answers: &["1969"],
    },
    Question { ask: "What is the Spanish word for cat? Answer with one word.", answers: &["gato"] },
    Question { ask: "Which country has the capital Cairo? Answer with its name only.", answers: &["Egypt"] },
    Question {
        ask: "At how many degrees Celsius does water boil at sea level? Answer with the number only.",
        answers: &["100", "hundred"],
    },
    Question {
        ask: "Which language do most people in Brazil speak? Answer with one word.",
        answers: &["Portuguese"],
    },
];

/// The end of the part in which a reasoning model thinks aloud. Only what follows is its answer.
const END_OF_THOUGHT: &str = "</think>";

/// The most words of an item of a list.
const LONGEST_ITEM: usize = 3;
/// So many other items make an answer one of a list.
const MOST_OTHERS: usize = 2;

impl Question {
    /// Whether `text` gives one of the answers, as whole words; letter case, punctuation and anything
    /// around it do not matter. One that is named in a list of others is none.
    pub fn is_answered_by(&self, text: &str) -> bool {
        let answer = text.rsplit_once(END_OF_THOUGHT).map_or(text, |(_, answer)| answer);
        self.is_said_by(answer) && !self.is_listed_by(answer)
    }

    fn is_said_by(&self, text: &str) -> bool {
        let words = words(text);
        self.answers.iter().any(|answer| {
            let answer = self::words(answer);
            words.windows(answer.len()).any(|window| window == answer)
        })
    }

    /// Whether `text` names this answer as one among several: a list of organs says nothing of which one pumps blood.
    fn is_listed_by(&self, text: &str) -> bool {
        let items = text.split([',', ';', '\n', '/']).flat_map(|item| item.split(" and "));
        let items = items.flat_map(|item| item.split(" or ")).map(str::trim);
        let short = |item: &&str| (1..=LONGEST_ITEM).contains(&words(item).len());
        let (said, others): (Vec<&str>, Vec<&str>) =
            items.filter(short).partition(|item| self.is_said_by(item));
        // A bare number is the mark of an item in a list, or a part of a number.
        let others = others.iter().filter(|item| item.chars().any(char::is_alphabetic)).count();
        !said.is_empty() && others >= MOST_OTHERS
    }

    /// The question that this user message asks, if it is one of [`QUESTIONS`].
    pub fn find(message: &str) -> Option<&'static Self> {
        QUESTIONS.iter().find(|question| question.ask == message.trim())
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

//! The questions with known answers.

use awqdeploy::domain::validation::questions::{QUESTIONS, Question};

fn about(word: &str) -> &'static Question {
    let mut found = QUESTIONS.iter().filter(|question| question.ask.contains(word));
    found.next().unwrap()
}

#[test]
fn answers_count_however_they_are_put() {
    let capital = about("France");
    for right in ["Paris", "PARIS.", "**Paris**", "The capital of France is Paris, of course."] {
        assert!(capital.is_answered_by(right), "{right}");
    }
    for wrong in ["", "London", "Parisian", "Comparison", "!!!!!!", "P a r i s"] {
        assert!(!capital.is_answered_by(wrong), "{wrong}");
    }
    let product = about("7 times 8");
    for right in ["56", "7 × 8 = 56.", "fifty-six", "Fifty six"] {
        assert!(product.is_answered_by(right), "{right}");
    }
    for wrong in ["156", "5 6", "56th", "fifty"] {
        assert!(!product.is_answered_by(wrong), "{wrong}");
    }
}

#[test]
fn a_list_is_no_answer() {
    let organ = about("organ");
    for wrong in [
        "heart, lungs, liver, kidneys",
        "Lungs, heart and liver",
        "1. heart\n2. lungs\n3. liver",
        "- lungs\n- liver\n- heart",
        "heart/lungs/liver",
    ] {
        assert!(!organ.is_answered_by(wrong), "{wrong}");
    }
    for right in
        ["Heart", "The heart.", "heart, of course", "The heart pumps blood, lungs take in air, and so on."]
    {
        assert!(organ.is_answered_by(right), "{right}");
    }
    for (word, right) in [("2 ** 10", "1,024"), ("France", "Paris, France"), ("sides", "6, or six")] {
        assert!(about(word).is_answered_by(right), "{right}");
    }
}

#[test]
fn only_what_follows_a_thought_is_an_answer() {
    let capital = about("France");
    assert!(capital.is_answered_by("<think>London? No.</think>\n\nParis"));
    assert!(!capital.is_answered_by("<think>Paris? No.</think>\n\nLondon"));
}

#[test]
fn each_question_is_answered_by_its_answers_and_nothing_else() {
    for question in &QUESTIONS {
        assert_eq!(Question::find(question.ask), Some(question));
        assert!(!question.answers.is_empty());
        for answer in question.answers {
            assert!(question.is_answered_by(answer), "{}", question.ask);
        }
        for other in &QUESTIONS {
            assert!(!question.is_answered_by(other.ask), "an echo of {}", other.ask);
            if other != question {
                assert!(!question.is_answered_by(other.answers[0]), "{}", question.ask);
            }
        }
    }
    assert_eq!(Question::find("What is love?"), None);
}

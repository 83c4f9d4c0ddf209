//! The tools that ask their client. In a session they send a request and wait; in 2026-07-28 they end with
//! `input_required` and are called again.

use serde_json::Value;

use crate::{
    call::Call,
    outcome::{Outcome, Stop, text},
    questions::{Question, choices, defaults},
};

/// What a tool does, and whether it keeps a state between its rounds.
pub(super) struct Interactive {
    run: fn(&Call) -> Outcome,
    keeps_state: bool,
}

pub(super) fn find(name: &str) -> Option<Interactive> {
    let (run, keeps_state): (fn(&Call) -> Outcome, bool) = match name {
        "sampling" => (sampling, false),
        "elicitation" => (elicitation, false),
        "elicitation_sep1034_defaults" => (|call| form(call, defaults()), false),
        "elicitation_sep1330_enums" => (|call| form(call, choices()), false),
        "missing_capability" => (capital, false),
        "streaming_elicitation" | "input_required_result_elicitation" => (user_name, false),
        "input_required_result_sampling" => (capital, false),
        "input_required_result_list_roots" => (roots, false),
        "input_required_result_request_state" | "input_required_result_tampered_state" => (confirmed, true),
        "input_required_result_multiple_inputs" => (several, true),
        "input_required_result_multi_round" => (rounds, true),
        "input_required_result_capabilities" => (whatever_is_declared, false),
        _ => return None,
    };
    Some(Interactive { run, keeps_state })
}

pub(super) fn run(tool: Interactive, name: &str, mut call: Call) -> Outcome {
    call.take_answers(name, tool.keeps_state)?;
    (tool.run)(&call)
}

fn sampling(call: &Call) -> Outcome {
    let prompt = argument(call, "prompt")?;
    let answers = call.ask(&[Question::sample("completion", prompt, 100).numbered()])?;
    Ok(text(&format!("LLM response: {}", said(&answers[0]))))
}

fn elicitation(call: &Call) -> Outcome {
    let message = argument(call, "message")?;
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" },
        },
        "required": ["username", "email"],
    });
    let answers = call.ask(&[Question::elicit("user", message, schema).numbered()])?;
    Ok(text(&format!("User response: {}", answers[0])))
}

fn form(call: &Call, schema: Value) -> Outcome {
    let question = Question::elicit("form", "Please review and update the form", schema).numbered();
    let answers = call.ask(&[question])?;
    let content = answers[0].get("content").map(Value::to_string).unwrap_or_default();
    Ok(text(&format!("Elicitation completed: action={}, content={content}", action(&answers[0]))))
}

fn user_name(call: &Call) -> Outcome {
    let answers = call.ask(&[Question::field("user_name", "What is your name?", "name", "string")])?;
    Ok(text(&format!("Hello, {}!", answers[0]["content"]["name"].as_str().unwrap_or(action(&answers[0])))))
}

fn capital(call: &Call) -> Outcome {
    let answers = call.ask(&[Question::sample("capital_question", "What is the capital of France?", 100)])?;
    Ok(text(said(&answers[0])))
}

fn roots(call: &Call) -> Outcome {
    let answers = call.ask(&[Question::roots("client_roots")])?;
    Ok(text(&format!("roots: {}", answers[0]["roots"])))
}

fn confirmed(call: &Call) -> Outcome {
    let answers = call.ask(&[Question::field("confirm", "Please confirm", "ok", "boolean")])?;
    Ok(text(&format!("state-ok {}", action(&answers[0]))))
}

fn several(call: &Call) -> Outcome {
    let answers = call.ask(&[
        Question::field("user_name", "What is your name?", "name", "string"),
        Question::sample("greeting", "Generate a greeting", 50),
        Question::roots("client_roots"),
    ])?;
    let name = answers[0]["content"]["name"].as_str().unwrap_or("nobody");
    Ok(text(&format!("{} {name}, roots: {}", said(&answers[1]), answers[2]["roots"])))
}

fn rounds(call: &Call) -> Outcome {
    let first = Question::field("step1", "Step 1: What is your name?", "name", "string");
    let name = call.ask(&[first])?.swap_remove(0);
    let second = Question::field("step2", "Step 2: What is your favorite color?", "color", "string");
    let color = call.ask(&[second])?.swap_remove(0);
    Ok(text(&format!("{} likes {}", name["content"]["name"], color["content"]["color"])))
}

/// Asks for a form, and a client that has none for a completion.
fn whatever_is_declared(call: &Call) -> Outcome {
    let form = Question::field("user_name", "What is your name?", "name", "string");
    let asked = match call.declared(form.capability()) {
        true => call.ask(&[form]),
        false => Err(Stop::Tool(String::new())),
    };
    match asked {
        // Undeclared, or declared by somebody between us and the client who then refused.
        Err(Stop::Tool(_)) => capital(call),
        asked => Ok(text(&format!("Hello, {}!", asked?[0]["content"]["name"]))),
    }
}

fn argument<'a>(call: &'a Call, name: &str) -> Result<&'a str, Stop> {
    let argument = call.params["arguments"][name].as_str();
    argument.ok_or_else(|| Stop::Tool(format!("the argument `{name}` is missing or no string")))
}

/// The text of a completion.
fn said(answer: &Value) -> &str {
    let content = &answer["content"];
    let text = content["text"].as_str().or_else(|| content[0]["text"].as_str());
    text.unwrap_or("nothing")
}

fn action(answer: &Value) -> &str {
    answer["action"].as_str().unwrap_or_default()
}

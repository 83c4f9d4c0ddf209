//! `prompts/list` and `prompts/get`.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::{
    call::Call,
    catalogue::page,
    outcome::{Outcome, Stop},
    questions::Question,
    tools::image,
};

pub(crate) fn list(call: &Call) -> Outcome {
    let mut prompts = call.server.catalogue.prompts.clone();
    if call.server.extra_prompt.load(Ordering::Relaxed) {
        prompts.push(EXTRA.to_owned());
    }
    page("prompts", &prompts, call.params.get("cursor"))
}

pub(crate) fn get(mut call: Call) -> Outcome {
    let name = call.params["name"].as_str().ok_or_else(|| Stop::invalid("`name` is missing"))?.to_owned();
    let messages = match name.as_str() {
        "simple_prompt" => vec![said("This is a simple prompt for testing.")],
        "prompt_with_arguments" => {
            let (first, second) = (argument(&call, "arg1")?, argument(&call, "arg2")?);
            vec![said(&format!("Prompt with arguments: arg1='{first}', arg2='{second}'"))]
        }
        "prompt_with_embedded_resource" => embedded(argument(&call, "resourceUri")?),
        "prompt_with_image" => vec![message(&image()), said("Please analyze the image above.")],
        "input_required_result_prompt" => {
            call.take_answers(&name, false)?;
            vec![said(&format!("Context: {}", context(&call)?))]
        }
        "extra" if call.server.extra_prompt.load(Ordering::Relaxed) => vec![said("extra")],
        "heard" => vec![said("The noisy server has a prompt too.")],
        _ => return Err(Stop::invalid(&format!("unknown prompt `{name}`"))),
    };
    Ok(json!({ "messages": messages }).to_string())
}

fn context(call: &Call) -> Result<String, Stop> {
    let question = Question::field("user_context", "What context should the prompt use?", "context", "string");
    match call.ask(&[question]) {
        Ok(answers) => Ok(answers[0]["content"]["context"].to_string()),
        // A prompt has no result that says it failed.
        Err(Stop::Tool(text)) => Err(Stop::error(-32603, &text)),
        Err(stop) => Err(stop),
    }
}

fn embedded(uri: &str) -> Vec<Value> {
    let resource = json!({ "uri": uri, "mimeType": "text/plain", "text": "Embedded resource content for testing." });
    let resource = json!({ "type": "resource", "resource": resource });
    vec![message(&resource), said("Please process the embedded resource above.")]
}

fn said(text: &str) -> Value {
    message(&json!({ "type": "text", "text": text }))
}

fn message(content: &Value) -> Value {
    json!({ "role": "user", "content": content })
}

fn argument<'a>(call: &'a Call, name: &str) -> Result<&'a str, Stop> {
    let argument = call.params["arguments"][name].as_str();
    argument.ok_or_else(|| Stop::invalid(&format!("the argument `{name}` is missing")))
}

/// What `trigger_prompt_change` adds and removes.
const EXTRA: &str = r#"{"name":"extra","description":"Comes and goes"}"#;

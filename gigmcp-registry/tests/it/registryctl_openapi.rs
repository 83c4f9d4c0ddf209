//! `registryctl import-openapi`: from a vendor's document to a pair that passes the linter and becomes an image.

use std::fs;

use serde_json::Value;

use crate::registryctl::Desk;

const DOCUMENT: &str = r##"
openapi: 3.0.3
info: {title: Desk, version: "2024-01-01"}
servers:
  - url: https://api.desk.dev/v2
security:
  - token: []
components:
  securitySchemes:
    token: {type: http, scheme: bearer}
  schemas:
    Ticket:
      type: object
      required: [subject]
      properties:
        subject: {type: string, maxLength: 120}
        priority: {type: string, enum: [low, high], default: low}
        custom: {oneOf: [{type: string}, {type: number}]}
paths:
  /tickets:
    get:
      operationId: listTickets
      summary: Lists tickets, the newest first.
      parameters:
        - {name: page, in: query, schema: {type: integer, minimum: 1, default: 1}}
        - {name: "filter[state]", in: query, schema: {type: array, items: {type: string}}, explode: false}
    post:
      operationId: createTicket
      summary: Makes a ticket.
      requestBody:
        required: true
        content:
          application/json: {schema: {$ref: "#/components/schemas/Ticket"}}
  /tickets/{id}/file:
    put:
      operationId: uploadFile
      parameters:
        - {name: id, in: path, required: true, schema: {type: string}}
      requestBody:
        required: true
        content:
          application/octet-stream: {}
"##;

fn desk() -> Desk {
    let desk = Desk::new();
    fs::write(desk.path("desk.yaml"), DOCUMENT).unwrap();
    fs::create_dir_all(desk.path("manifests/desk")).unwrap();
    desk
}

const LINE: &str = "import-openapi desk.yaml --name desk --server-version 1.0.0 -o manifests/desk/1.0.0.toolspec.yaml \
                    --manifest manifests/desk/1.0.0.yaml --tools";

#[test]
fn a_document_becomes_a_pair_that_passes() {
    let desk = desk();
    let said = desk.json(&format!("{LINE} listTickets,createTicket"));
    assert_eq!(said["tools"], serde_json::json!(["list_tickets", "create_ticket"]));
    let notes = said["notes"].as_array().unwrap();
    assert!(
        notes.len() == 1 && notes[0].as_str().unwrap().contains("body.custom is left out: its schema has `oneOf`"),
        "{said}"
    );
    assert_eq!(desk.run("lint manifests").status.code(), Some(0));
    assert_eq!(desk.run("lint-toolspecs manifests").status.code(), Some(0));
    let toolspec = fs::read(desk.path("manifests/desk/1.0.0.toolspec.yaml")).unwrap();
    let toolspec = gigmcp_registry::Toolspec::from_yaml(&toolspec).unwrap();
    let tool = &toolspec.tools[0];
    assert_eq!(
        (tool.path.to_string().as_str(), tool.params[1].wire_name.as_deref()),
        ("/v2/tickets", Some("filter[state]"))
    );
    let schema = toolspec.tools[1].input_schema();
    assert_eq!(schema["required"], serde_json::json!(["subject"]));
    assert_eq!(schema["properties"]["priority"]["enum"], serde_json::json!(["low", "high"]));
    let manifest =
        gigmcp_registry::Manifest::from_yaml(&fs::read(desk.path("manifests/desk/1.0.0.yaml")).unwrap()).unwrap();
    assert_eq!(manifest.credentials[0].id.as_str(), "token");

    // And on to an image.
    fs::copy(crate::build::echo_server(), desk.path("engine")).unwrap();
    desk.json("build manifests/desk/1.0.0.yaml --engine engine --output layout");
}

#[test]
fn what_a_toolspec_cannot_say_is_told_and_not_written() {
    let desk = desk();
    for (tools, says) in [
        ("uploadFile", "uploadFile: body: it is application/octet-stream"),
        (
            "listTickets,dropTicket",
            "there is no operation `dropTicket`; these are: listTickets, createTicket, uploadFile",
        ),
    ] {
        let (code, said) = desk.refused(&format!("{LINE} {tools} --json"));
        let failure: Value = serde_json::from_str(&said).unwrap();
        assert!(code == 1 && failure["causes"][0].as_str().unwrap().contains(says), "{said}");
        assert!(!desk.path("manifests/desk/1.0.0.toolspec.yaml").exists());
    }
    desk.json(&format!("{LINE} listTickets"));
}

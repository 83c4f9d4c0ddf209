//! From types back to text.

use super::document::{
    AuthDocument, ConstantDocument, PaginationDocument, ParamDocument, ResponseDocument, ToolRequestDocument,
    ToolspecDocument,
};
use super::{
    Auth, Constant, Encoding, Pagination, Param, ResponseSelection, Schema, SchemaKind, ToolRequest, Toolspec,
};
use crate::strict_json::Object;

impl From<&Toolspec> for ToolspecDocument {
    fn from(spec: &Toolspec) -> Self {
        let (first, named): (Vec<_>, Vec<_>) = spec.auths.iter().partition(|auth| auth.credential.is_none());
        Self {
            schema_version: spec.schema_version,
            name: spec.name.to_string(),
            version: spec.version.to_string(),
            base_url: spec.base_url.to_string(),
            auth: first.first().map(|auth| Object((&auth.place).into())),
            auths: named.into_iter().map(|auth| Object(auth.into())).collect(),
            constants: objects(&spec.constants),
            tools: objects(&spec.tools),
        }
    }
}

impl From<&Auth> for AuthDocument {
    fn from(auth: &Auth) -> Self {
        let credential = auth.credential.as_ref().map(ToString::to_string).unwrap_or_default();
        Self { credential, inject: Object((&auth.place).into()) }
    }
}

impl From<&ToolRequest> for ToolRequestDocument {
    fn from(tool: &ToolRequest) -> Self {
        let encoding = if tool.encoding == Encoding::Json { "" } else { tool.encoding.as_str() };
        Self {
            name: tool.name.to_string(),
            description: tool.description.clone(),
            method: tool.method.as_str().into(),
            path: tool.path.to_string(),
            base_url: tool.base_url.as_ref().map(ToString::to_string).unwrap_or_default(),
            encoding: encoding.into(),
            params: objects(&tool.params),
            constants: objects(&tool.constants),
            response: tool.response.as_ref().map(|response| Object(response.into())),
            pagination: tool.pagination.as_ref().map(|pagination| Object(pagination.into())),
        }
    }
}

impl From<&Param> for ParamDocument {
    fn from(param: &Param) -> Self {
        let (file_name, content_type) = match &param.part {
            Some(part) => (part.file_name.clone(), part.content_type.clone().unwrap_or_default()),
            None => Default::default(),
        };
        Self {
            name: param.name.clone(),
            place: param.place.as_str().into(),
            required: param.required,
            wire_name: param.wire_name.clone().unwrap_or_default(),
            style: param.style.map_or("", |style| style.as_str()).into(),
            file_name,
            content_type,
            ..Self::from(&param.schema)
        }
    }
}

impl From<&Schema> for ParamDocument {
    fn from(schema: &Schema) -> Self {
        let mut document = Self {
            kind: schema.kind.as_str().into(),
            description: schema.description.clone().unwrap_or_default(),
            choices: schema.choices.clone(),
            default: schema.default.clone(),
            ..Self::default()
        };
        match &schema.kind {
            SchemaKind::String { min_length, max_length } => {
                (document.min_length, document.max_length) = (*min_length, *max_length);
            }
            SchemaKind::Integer { minimum, maximum } | SchemaKind::Number { minimum, maximum } => {
                (document.minimum, document.maximum) = (*minimum, *maximum);
            }
            SchemaKind::Boolean => {}
            SchemaKind::Object(properties) => {
                let property = |property: &super::Property| {
                    let (name, required) = (property.name.clone(), property.required);
                    Object(Self { name, required, ..Self::from(&property.schema) })
                };
                document.properties = properties.iter().map(property).collect();
            }
            SchemaKind::Array { items, min_items, max_items } => {
                document.items = items.as_ref().map(|items| Box::new(Object((&**items).into())));
                (document.min_items, document.max_items) = (*min_items, *max_items);
            }
        }
        document
    }
}

impl From<&Constant> for ConstantDocument {
    fn from(constant: &Constant) -> Self {
        Self { name: constant.name.clone(), place: constant.place.as_str().into(), value: constant.value.clone() }
    }
}

impl From<&ResponseSelection> for ResponseDocument {
    fn from(response: &ResponseSelection) -> Self {
        let select = response.select.as_ref().map(ToString::to_string).unwrap_or_default();
        Self { select, fields: response.fields.clone(), max_bytes: response.max_bytes }
    }
}

impl From<&Pagination> for PaginationDocument {
    fn from(pagination: &Pagination) -> Self {
        Self {
            kind: pagination.kind.as_str().into(),
            param: pagination.param.clone().unwrap_or_default(),
            next: pagination.next.as_ref().map(ToString::to_string).unwrap_or_default(),
            max_pages: pagination.max_pages,
        }
    }
}

fn objects<'a, T, D: From<&'a T>>(values: &'a [T]) -> Vec<Object<D>> {
    values.iter().map(|value| Object(value.into())).collect()
}

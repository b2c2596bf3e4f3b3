//! Everything that a crate's users can name, one line an item.

use std::collections::BTreeMap;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Fields, FieldsNamed, FnArg, GenericParam, Generics, ImplItem, Item, ItemFn, ItemImpl, ItemMacro,
    ItemTrait, Path, Signature, TraitItem, Type, Variant, Visibility, parse_quote,
};

use super::names::{GLOB, Module, Sources, Target, attributes, imports, is_off, name};

/// An item by the module that defines it and its name there.
type Home = (Module, String);

/// Returns the lines that describe what `krate`, the crate in `sources`, offers to its users, in order.
pub fn surface(sources: &Sources, krate: &str) -> Vec<String> {
    let mut surface = Surface { sources, names: BTreeMap::new(), lines: Vec::new() };
    surface.expose(&[], krate);
    for shown in surface.names.values() {
        let again = shown.iter().skip(1).map(|other| format!("{other}: pub use {}", shown[0]));
        surface.lines.extend(again);
    }
    surface.definitions();
    surface.impls();
    surface.lines.sort();
    surface.lines.dedup();
    surface.lines
}

struct Surface<'a> {
    sources: &'a Sources,
    /// The public paths of each item that has any, shortest first.
    names: BTreeMap<Home, Vec<String>>,
    lines: Vec<String>,
}

impl Surface<'_> {
    /// Notes what `module` shows to whoever can see it as `shown`.
    fn expose(&mut self, module: &[String], shown: &str) {
        let sources = self.sources;
        for item in sources.modules.get(module).into_iter().flatten() {
            if attributes(item).iter().any(is_hidden) || !is_public(item) {
                continue;
            }
            if let Item::Mod(inner) = item {
                let name = inner.ident.to_string();
                let path = format!("{shown}::{name}");
                self.lines.push(format!("{path}: pub mod {name}"));
                self.expose(&[module, &[name]].concat(), &path);
            }
            for import in imports(item) {
                let path = format!("{shown}::{}", import.alias);
                match sources.find(module, &import.path) {
                    Target::Item(home, name) => self.note((home, name), path),
                    Target::Module(other) if import.alias == GLOB => self.expose(&other, shown),
                    Target::Module(other) => {
                        self.lines.push(format!("{path}: pub mod {}", import.alias));
                        self.expose(&other, &path);
                    }
                    Target::External(other) => self.lines.push(format!("{path}: pub use {}", other.join("::"))),
                }
            }
            if let Some(name) = name(item) {
                let path = format!("{shown}::{name}");
                self.note((module.to_vec(), name), path);
            }
        }
    }

    fn note(&mut self, home: Home, path: String) {
        let paths = self.names.entry(home).or_default();
        paths.push(path);
        paths.sort_by_key(|path| (path.matches("::").count(), path.clone()));
        paths.dedup();
    }

    /// The path by which users know what `path` stands for in `module`, if they can name it.
    fn shown(&self, module: &[String], path: &Path) -> Option<&str> {
        let path: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        match self.sources.find(module, &path) {
            Target::Item(home, name) => Some(self.names.get(&(home, name))?.first()?),
            _ => None,
        }
    }

    fn definitions(&mut self) {
        let sources = self.sources;
        let mut lines = Vec::new();
        for ((module, wanted), shown) in &self.names {
            let (path, items) = (&shown[0], &sources.modules[module]);
            match items.iter().find(|item| name(item).as_ref() == Some(wanted)) {
                Some(item) => define(&mut lines, path, item),
                None => items.iter().for_each(|item| made(&mut lines, path, item)),
            }
        }
        self.lines.extend(lines);
    }

    fn impls(&mut self) {
        let mut lines = Vec::new();
        for (module, items) in &self.sources.modules {
            for item in items {
                let Item::Impl(block) = item else { continue };
                let target = match &*block.self_ty {
                    Type::Path(target) => self.shown(module, &target.path),
                    Type::Reference(to) => match &*to.elem {
                        Type::Path(target) => self.shown(module, &target.path),
                        _ => None,
                    },
                    _ => None,
                };
                match (&block.trait_, target) {
                    (None, Some(target)) => methods(&mut lines, target, block),
                    (None, None) => {}
                    (Some((_, of, _)), target) => {
                        let ours = self.shown(module, of);
                        // A trait of this crate that users cannot name is nothing that they can rely on.
                        let segments: Vec<String> = of.segments.iter().map(|s| s.ident.to_string()).collect();
                        let foreign = matches!(self.sources.find(module, &segments), Target::External(_));
                        if let Some(path) = target.filter(|_| ours.is_some() || foreign).or(ours) {
                            lines.push(format!("{path}: {}", implementation(block)));
                        }
                    }
                }
            }
        }
        self.lines.extend(lines);
    }
}

/// Describes an item and what is inside of it.
fn define(lines: &mut Vec<String>, path: &str, item: &Item) {
    let mut item = item.clone();
    match &mut item {
        Item::Struct(item) => {
            derived(lines, path, &item.attrs, &item.ident, &item.generics);
            from_fields(lines, path, &item.ident, &item.generics, &item.fields);
            clean(&mut item.attrs);
            let all = item.fields.len();
            let shown = fields(lines, path, &item.fields, false);
            let head = match &mut item.fields {
                Fields::Named(fields) => {
                    *fields = FieldsNamed { brace_token: fields.brace_token, named: Default::default() };
                    let hidden = if shown < all { "{ /* private */ }" } else { "{ .. }" };
                    one_line(item.to_token_stream()).replace("{}", hidden)
                }
                Fields::Unnamed(fields) => {
                    for field in &mut fields.unnamed {
                        clean(&mut field.attrs);
                        if !matches!(field.vis, Visibility::Public(_)) {
                            (field.vis, field.ty) = (Visibility::Inherited, parse_quote!(_));
                        }
                    }
                    one_line(item.to_token_stream())
                }
                Fields::Unit => one_line(item.to_token_stream()),
            };
            lines.push(format!("{path}: {head}"));
        }
        Item::Enum(item) => {
            derived(lines, path, &item.attrs, &item.ident, &item.generics);
            for variant in &item.variants {
                from_fields(lines, path, &item.ident, &item.generics, &variant.fields);
                if !variant.attrs.iter().any(is_hidden) {
                    let name = &variant.ident;
                    lines.push(format!("{path}::{name}: {}", shape(variant)));
                    fields(lines, &format!("{path}::{name}"), &variant.fields, true);
                }
            }
            clean(&mut item.attrs);
            item.variants.clear();
            lines.push(format!("{path}: {}", one_line(item.to_token_stream()).replace("{}", "{ .. }")));
        }
        Item::Trait(item) => {
            clean(&mut item.attrs);
            let items = std::mem::take(&mut item.items);
            let ItemTrait { ident, generics, .. } = &*item;
            items.iter().for_each(|part| trait_item(lines, path, &quote!(#ident #generics), part));
            lines.push(format!("{path}: {}", one_line(item.to_token_stream()).replace("{}", "{ .. }")));
        }
        Item::Fn(item) => {
            clean(&mut item.attrs);
            lines.push(format!("{path}: {}", signature(&item.attrs, &item.vis, &item.sig)));
        }
        Item::Const(item) => {
            clean(&mut item.attrs);
            lines.push(format!("{path}: {}", one_line(item.to_token_stream())));
        }
        Item::Type(item) => {
            clean(&mut item.attrs);
            lines.push(format!("{path}: {}", one_line(item.to_token_stream())));
        }
        other => lines.push(format!("{path}: {}", one_line(other.to_token_stream()))),
    }
}

/// Describes what a macro is given that makes `path`, row by row, and the public functions that it writes.
fn made(lines: &mut Vec<String>, path: &str, item: &Item) {
    let Item::Macro(ItemMacro { ident, mac, .. }) = item else { return };
    if ident.is_none() {
        let name = mac.path.to_token_stream();
        let tokens: Vec<TokenTree> = mac.tokens.clone().into_iter().collect();
        let rows = tokens.split(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ';'));
        for row in rows.filter(|row| !row.is_empty()) {
            let row = row.iter().cloned().collect::<TokenStream>().to_string();
            let row = row.replace(" ,", ",").replace(" :: ", "::").replace("# [", "#[");
            lines.push(format!("{path}: {name}! {{ {row} }}"));
        }
    } else {
        written(lines, path, mac.tokens.clone());
    }
}

/// Describes the public functions in the text of a macro.
fn written(lines: &mut Vec<String>, path: &str, tokens: TokenStream) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (i, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => written(lines, path, group.stream()),
            TokenTree::Ident(word) if word == "pub" => {
                let is_body = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
                let Some(length) = tokens[i..].iter().position(is_body) else { continue };
                let head: TokenStream = tokens[i..i + length].iter().cloned().collect();
                let function = syn::parse2::<ItemFn>(quote!(#head {})).ok();
                if let Some(function) = function.filter(|function| is_shown(&function.vis, &[])) {
                    let name = &function.sig.ident;
                    lines.push(format!("{path}::{name}: {}", signature(&[], &function.vis, &function.sig)));
                }
            }
            _ => {}
        }
    }
}

/// Describes the public fields; returns how many there are. Those of a variant are all public.
fn fields(lines: &mut Vec<String>, path: &str, fields: &Fields, all: bool) -> usize {
    let mut shown = 0;
    for field in fields {
        if (all || matches!(field.vis, Visibility::Public(_))) && !field.attrs.iter().any(is_hidden) {
            shown += 1;
            if let Some(name) = &field.ident {
                lines.push(format!("{path}::{name}: {}", flat(&one_type(&field.ty))));
            }
        }
    }
    shown
}

/// A variant without the types of named fields, which have lines of their own.
fn shape(variant: &Variant) -> String {
    let mut variant = variant.clone();
    clean(&mut variant.attrs);
    let named = matches!(variant.fields, Fields::Named(_));
    if named {
        variant.fields = Fields::Unit;
    }
    variant.fields.iter_mut().for_each(|field| clean(&mut field.attrs));
    let text = one_line(quote!(enum E { #variant }));
    let text = text.trim_start_matches("enum E {").trim_end_matches('}').trim().trim_end_matches(',');
    if named { format!("{text} {{ .. }}") } else { text.to_owned() }
}

/// Describes the traits that a type derives.
fn derived(lines: &mut Vec<String>, path: &str, attrs: &[Attribute], name: &syn::Ident, generics: &Generics) {
    for attribute in attrs.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        let parse = syn::punctuated::Punctuated::<Path, syn::Token![,]>::parse_terminated;
        for of in attribute.parse_args_with(parse).into_iter().flatten() {
            let last = of.segments.last().map(|segment| segment.ident.to_string());
            let last = last.unwrap_or_default();
            let mut bound = generics.clone();
            for parameter in &mut bound.params {
                if let GenericParam::Type(parameter) = parameter {
                    let of = &of.segments.last().expect("a path has segments").ident;
                    parameter.bounds.push(parse_quote!(#of));
                }
            }
            let (head, arguments, conditions) = bound.split_for_impl();
            let of = &of.segments.last().expect("a path has segments").ident;
            let mut traits = vec![quote!(#of)];
            // `thiserror::Error` writes two.
            traits.extend((last == "Error").then(|| quote!(Display)));
            for of in traits {
                lines.push(format!(
                    "{path}: {}",
                    one_line(quote!(impl #head #of for #name #arguments #conditions {})).trim_end_matches(" {}")
                ));
            }
        }
    }
}

/// Describes the conversions that `thiserror` writes for fields marked `#[from]`.
fn from_fields(lines: &mut Vec<String>, path: &str, name: &syn::Ident, generics: &Generics, fields: &Fields) {
    for field in fields.iter().filter(|field| field.attrs.iter().any(|attribute| attribute.path().is_ident("from"))) {
        let (head, arguments, conditions) = generics.split_for_impl();
        let source = &field.ty;
        let text = one_line(quote!(impl #head From<#source> for #name #arguments #conditions {}));
        lines.push(format!("{path}: {}", text.trim_end_matches(" {}")));
    }
}

/// Describes the public parts of an `impl` without a trait.
fn methods(lines: &mut Vec<String>, target: &str, block: &ItemImpl) {
    let (head, _, conditions) = block.generics.split_for_impl();
    let bounds = match block.generics.params.is_empty() {
        true => String::new(),
        false => {
            let this = &block.self_ty;
            let text = one_line(quote!(impl #head #this #conditions {}));
            format!("{}: ", text.trim_end_matches(" {}").trim_end_matches(','))
        }
    };
    for item in &block.items {
        match item {
            ImplItem::Fn(function) if is_shown(&function.vis, &function.attrs) => {
                let name = &function.sig.ident;
                let text = signature(&function.attrs, &function.vis, &function.sig);
                lines.push(format!("{target}::{name}: {bounds}{text}"));
            }
            ImplItem::Const(constant) if is_shown(&constant.vis, &constant.attrs) => {
                let mut constant = constant.clone();
                clean(&mut constant.attrs);
                let text = one_line(constant.to_token_stream());
                lines.push(format!("{target}::{}: {bounds}{text}", constant.ident));
            }
            _ => {}
        }
    }
}

fn trait_item(lines: &mut Vec<String>, path: &str, head: &TokenStream, item: &TraitItem) {
    let mut item = item.clone();
    let (name, mark) = match &mut item {
        TraitItem::Fn(function) => {
            clean(&mut function.attrs);
            let mark = if function.default.take().is_some() { " { .. }" } else { "" };
            function.semi_token = Some(Default::default());
            (function.sig.ident.to_string(), mark)
        }
        TraitItem::Const(constant) => {
            clean(&mut constant.attrs);
            (constant.ident.to_string(), "")
        }
        TraitItem::Type(kind) => {
            clean(&mut kind.attrs);
            (kind.ident.to_string(), "")
        }
        _ => return,
    };
    let text = one_line(quote!(trait #head { #item }));
    let inside = text.split_once('{').map_or(text.as_str(), |(_, inside)| inside);
    let inside = inside.trim().trim_end_matches('}').trim().trim_end_matches(';');
    lines.push(format!("{path}::{name}: {inside}{mark}"));
}

/// An `impl` of a trait with what it chooses: types and constants, no functions, whose form the trait gives.
fn implementation(block: &ItemImpl) -> String {
    let mut block = block.clone();
    clean(&mut block.attrs);
    block.items.retain(|item| matches!(item, ImplItem::Type(_) | ImplItem::Const(_)));
    for item in &mut block.items {
        match item {
            ImplItem::Type(item) => clean(&mut item.attrs),
            ImplItem::Const(item) => clean(&mut item.attrs),
            _ => {}
        }
    }
    if let Some((_, of, _)) = &mut block.trait_ {
        // `fmt::Debug` and `Debug` are one trait.
        let last = of.segments.last().cloned().expect("a path has segments");
        *of = last.into();
    }
    one_line(block.to_token_stream()).trim_end_matches(" {}").to_owned()
}

fn signature(attrs: &[Attribute], visibility: &Visibility, of: &Signature) -> String {
    let mut attrs = attrs.to_vec();
    clean(&mut attrs);
    let mut of = of.clone();
    for argument in &mut of.inputs {
        // `mut` before an argument is the body's own business.
        match argument {
            FnArg::Typed(argument) => {
                if let syn::Pat::Ident(name) = &mut *argument.pat {
                    name.mutability = None;
                }
            }
            FnArg::Receiver(this) if this.reference.is_none() && this.colon_token.is_none() => this.mutability = None,
            FnArg::Receiver(_) => {}
        }
    }
    let text = one_line(quote!(#(#attrs)* #visibility #of {}));
    text.trim_end_matches(" {}").trim_end_matches(',').to_owned()
}

fn is_public(item: &Item) -> bool {
    let visibility = match item {
        Item::Const(item) => &item.vis,
        Item::Enum(item) => &item.vis,
        Item::Fn(item) => &item.vis,
        Item::Mod(item) => &item.vis,
        Item::Static(item) => &item.vis,
        Item::Struct(item) => &item.vis,
        Item::Trait(item) => &item.vis,
        Item::Type(item) => &item.vis,
        Item::Union(item) => &item.vis,
        Item::Use(item) => &item.vis,
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_))
}

fn is_shown(visibility: &Visibility, attrs: &[Attribute]) -> bool {
    matches!(visibility, Visibility::Public(_))
        && !attrs.iter().any(|attribute| is_hidden(attribute) || is_off(attribute))
}

fn is_hidden(attribute: &Attribute) -> bool {
    attribute.path().is_ident("doc") && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "hidden")
}

/// Keeps the attributes that users can tell by: conditions, promises, layout.
fn clean(attrs: &mut Vec<Attribute>) {
    let kept = ["cfg", "deprecated", "must_use", "non_exhaustive", "repr"];
    attrs.retain(|attribute| kept.iter().any(|kept| attribute.path().is_ident(kept)));
}

fn one_type(of: &Type) -> String {
    let text = one_line(quote!(type T = #of;));
    text.trim_start_matches("type T =").trim_end_matches(';').trim().to_owned()
}

/// An item as rustfmt would have it, on one line.
fn one_line(item: TokenStream) -> String {
    match syn::parse2::<Item>(item.clone()) {
        Ok(item) => flat(&prettyplease::unparse(&syn::File { shebang: None, attrs: Vec::new(), items: vec![item] })),
        Err(_) => flat(&item.to_string()),
    }
}

/// Joins lines that were broken at brackets.
fn flat(text: &str) -> String {
    let mut line = String::new();
    for next in text.lines().map(str::trim) {
        let opens = line.is_empty() || line.ends_with(['(', '[', '<']);
        let closes = next.starts_with([')', ']', '>', '.']);
        if closes && line.ends_with(',') {
            line.pop();
        }
        if !opens && !closes {
            line.push(' ');
        }
        line += next;
    }
    line.trim().to_owned()
}

//! Tests of attacks, one each.

use proptest::prelude::*;

use super::*;

/// Returns a token of any header and payload, without a signature or with any text in its place.
fn forged(header: &str, payload: &str, signature: &str) -> String {
    format!("{}.{}.{}", b64(header), b64(payload), b64(signature))
}

#[test]
fn alg_none_in_any_spelling_is_refused() {
    let verifiers = [open(config()), open_pem(&Pair::p256().public_pem).unwrap()];
    for none in ["none", "None", "NONE", "nOnE", "", " none", "null", "HS256 ", "hs256"] {
        for signature in ["", "x"] {
            let token = forged(&json!({"alg": none, "typ": "JWT"}).to_string(), &ada().to_string(), signature);
            for verifier in &verifiers {
                assert_eq!(verifier.verify(&token), Err(TokenError::BadAlgorithm), "{none:?}");
            }
        }
    }
    for header in [
        r#"{"typ":"JWT"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":0}"#,
        r#"["HS256"]"#,
        "[]",
        "null",
        "",
    ] {
        assert_eq!(
            verifiers[0].verify(&forged(header, &ada().to_string(), "x")),
            Err(TokenError::Malformed),
            "{header}"
        );
    }
}

#[test]
fn a_public_key_is_no_secret_of_hs256() {
    for pair in [Pair::rsa(), Pair::p256(), Pair::ed25519()] {
        let der: String = pair.public_pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = BASE64.decode(der.as_bytes()).unwrap();
        let verifiers = [open_pem(&pair.public_pem).unwrap(), open_jwks(&jwks(&[&pair])).unwrap()];
        for secret in [pair.public_pem.as_bytes(), pair.public_pem.trim().as_bytes(), &der] {
            let token = sign(json!({}), &ada(), &SigningKey::of_secret(secret).unwrap()).unwrap();
            for verifier in &verifiers {
                assert_eq!(verifier.verify(&token), Err(TokenError::BadAlgorithm));
            }
        }
    }
}

#[test]
fn a_key_is_used_for_its_own_algorithm_only() {
    let verifier = open(config());
    for algorithm in ["HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256", "ES512", "ES256K"] {
        let token = sign(json!({"alg": algorithm}), &ada(), &secret()).unwrap();
        assert_eq!(verifier.verify(&token), Err(TokenError::BadAlgorithm), "{algorithm}");
    }
    let (ec, rsa) = (Pair::p256().named("ec"), Pair::rsa().named("rsa").with(json!({"alg": "RS256"})));
    let set = open_jwks(&jwks(&[&ec, &rsa])).unwrap();
    let crossed = sign(json!({"kid": "ec"}), &ada(), &rsa.private).unwrap();
    assert_eq!(set.verify(&crossed), Err(TokenError::BadAlgorithm));
    let other = sign(json!({"alg": "RS512"}), &ada(), &rsa.private).unwrap();
    assert_eq!(set.verify(&other), Err(TokenError::BadAlgorithm), "the set says RS256");
}

#[test]
fn a_tampered_payload_is_refused() {
    let (verifier, token) = (open(config()), sign(json!({}), &ada(), &secret()).unwrap());
    let parts: Vec<&str> = token.split('.').collect();
    let payload = b64(but(json!({"permissions": ["admin"]})).to_string());
    assert_eq!(verifier.verify(&format!("{}.{payload}.{}", parts[0], parts[2])), Err(TokenError::BadSignature));
    let header = b64(r#"{"alg":"HS256","typ":"jwt"}"#);
    assert_eq!(verifier.verify(&format!("{header}.{}.{}", parts[1], parts[2])), Err(TokenError::BadSignature));
}

#[test]
fn a_signature_that_is_cut_or_empty_or_zero_is_refused() {
    let ec = Pair::p256();
    for (verifier, token) in
        [(open(config()), sign(json!({}), &ada(), &secret()).unwrap()), (open_pem(&ec.public_pem).unwrap(), ec.token())]
    {
        assert!(verifier.verify(&token).is_ok());
        let message = token.rsplit_once('.').unwrap().0;
        for signature in ["", "AA", &b64([0; 32]), &b64([0; 64]), &token[message.len() + 1..token.len() - 4]] {
            assert_eq!(
                verifier.verify(&format!("{message}.{signature}")),
                Err(TokenError::BadSignature),
                "{signature:?}"
            );
        }
    }
}

#[test]
fn a_token_has_one_spelling() {
    let (verifier, token) = (open(config()), sign(json!({}), &ada(), &secret()).unwrap());
    assert!(verifier.verify(&token).is_ok());
    for other in [
        format!("{token}="),
        format!("{token} "),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}."),
        format!(".{token}"),
        format!("Bearer {token}"),
        token.replacen('.', "..", 1),
    ] {
        assert!(verifier.verify(&other).is_err(), "{other:?}");
    }
    // The last character of 32 bytes in base64 has two bits to spare.
    let last = token.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for other in alphabet.chars().filter(|other| *other != last) {
        assert_eq!(verifier.verify(&format!("{}{other}", &token[..token.len() - 1])), Err(TokenError::BadSignature));
    }
}

#[test]
fn expired_and_early_tokens_are_refused() {
    assert_eq!(claimed(&but(json!({"exp": NOW - 3_600}))), Err(TokenError::Expired));
    assert_eq!(claimed(&but(json!({"exp": 0}))), Err(TokenError::Expired));
    assert_eq!(claimed(&but(json!({"nbf": NOW + 3_600}))), Err(TokenError::NotYetValid));
}

#[test]
fn absurd_times_are_refused_without_a_panic() {
    for absurd in [
        json!(1e300),
        json!(-1),
        json!(-1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(i64::MAX),
        json!("1900000000"),
        json!(null),
        json!(true),
        json!([NOW]),
        json!({}),
        json!(253_402_300_800_u64),
    ] {
        assert_eq!(claimed(&but(json!({"exp": absurd}))), Err(TokenError::BadClaims("exp")), "{absurd}");
        assert_eq!(claimed(&but(json!({"nbf": absurd}))), Err(TokenError::BadClaims("nbf")), "{absurd}");
    }
    assert_eq!(claimed(&json!({"sub": "ada"})), Err(TokenError::BadClaims("exp")), "a token without an end is refused");
    assert!(claimed(&but(json!({"exp": 253_402_207_200_u64}))).is_ok(), "the leeway ends after the calendar");
}

#[test]
fn claims_that_make_no_sense_are_refused() {
    for (name, values) in [
        (
            "sub",
            vec![
                json!(""),
                json!("x".repeat(129)),
                json!("a\0b"),
                json!("a\u{85}b"),
                json!(7),
                json!(null),
                json!(["ada"]),
            ],
        ),
        (
            "tenantId",
            vec![json!(""), json!("../acme"), json!("a*"), json!("x".repeat(65)), json!(null), json!(1), json!(["a"])],
        ),
        ("permissions", vec![json!("admin"), json!({"admin": true}), json!(null), json!([["admin"]]), json!([1])]),
        (
            "channels",
            vec![
                json!(null),
                json!("orders"),
                json!([["orders"], []]),
                json!({"read": "orders"}),
                json!({"read": ["*"]}),
                json!({"read": [1]}),
                json!({"read": null}),
                json!({"write": ["orders"]}),
                json!({"push": vec!["a"; 65]}),
            ],
        ),
    ] {
        for value in values {
            assert_eq!(claimed(&but(json!({name: value}))), Err(TokenError::BadClaims(name)), "{name} {value}");
        }
    }
    for scope in [json!(["admin"]), json!(null), json!(1)] {
        let claims = json!({"sub": "ada", "exp": NOW + 1, "scope": scope});
        assert_eq!(claimed(&claims), Err(TokenError::BadClaims("scope")));
    }
    for claims in [json!([]), json!(["ada", "acme", ["admin"], "", NOW + 1]), json!("ada"), json!(null), json!(7)] {
        assert_eq!(claimed(&claims), Err(TokenError::BadClaims("claims")), "{claims}");
    }
}

/// Returns a validly signed token of exactly this text.
fn signed(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", b64(header), b64(payload));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    format!("{message}.{}", b64(ring::hmac::sign(&key, message.as_bytes())))
}

#[test]
fn repeated_fields_and_claims_are_refused() {
    let verifier = open(config());
    let fine = r#"{"alg":"HS256"}"#;
    let payload = format!(r#"{{"sub":"ada","exp":{},"sub":"root"}}"#, NOW + 1);
    assert_eq!(verifier.verify(&signed(fine, &payload)), Err(TokenError::BadClaims("claims")));
    let payload = format!(r#"{{"sub":"ada","exp":{0},"exp":{0}}}"#, NOW + 1);
    assert_eq!(verifier.verify(&signed(fine, &payload)), Err(TokenError::BadClaims("claims")));
    for header in [r#"{"alg":"none","alg":"HS256"}"#, r#"{"alg":"HS256","kid":"a","kid":"b"}"#] {
        assert_eq!(verifier.verify(&signed(header, &ada().to_string())), Err(TokenError::Malformed), "{header}");
    }
}

#[test]
fn critical_extensions_are_refused() {
    let verifier = open(config());
    for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!(null), json!("exp")] {
        let token = sign(json!({"crit": crit, "b64": true}), &ada(), &secret()).unwrap();
        assert_eq!(verifier.verify(&token), Err(TokenError::Malformed), "{crit}");
    }
}

#[test]
fn keys_and_urls_in_the_header_are_ignored() {
    let (ours, theirs) = (Pair::p256(), Pair::p256());
    let verifier = open_jwks(&jwks(&[&ours])).unwrap();
    for header in [
        json!({"jwk": theirs.jwk}),
        json!({"jku": "http://127.0.0.1:9/keys.json"}),
        json!({"x5u": "http://127.0.0.1:9/chain.pem"}),
        json!({"x5c": [b64("no certificate")]}),
    ] {
        let token = sign(header.clone(), &ada(), &theirs.private).unwrap();
        assert_eq!(verifier.verify(&token), Err(TokenError::BadSignature), "{header}");
        assert!(verifier.verify(&sign(header, &ada(), &ours.private).unwrap()).is_ok());
    }
}

#[test]
fn a_kid_is_only_compared_with_names() {
    let pair = Pair::p256().named("2026");
    let verifier = open_jwks(&jwks(&[&pair])).unwrap();
    let huge = "k".repeat(4_000);
    for kid in ["../../../../dev/null", "/etc/passwd", "' OR 1=1 --", "2026\0", "", "http://127.0.0.1/", "2026 ", &huge]
    {
        let token = sign(json!({"kid": kid}), &ada(), &pair.private).unwrap();
        assert_eq!(verifier.verify(&token), Err(TokenError::UnknownKey), "{kid:.30}");
    }
    for kid in [json!(null), json!(2026), json!(["2026"]), json!({"2026": 1})] {
        let token = sign(json!({"kid": kid}), &ada(), &pair.private).unwrap();
        assert_eq!(verifier.verify(&token), Err(TokenError::Malformed), "{kid}");
    }
    // The key that `/dev/null` would be.
    let empty = signed(r#"{"alg":"HS256","kid":"/dev/null"}"#, &ada().to_string());
    assert_eq!(verifier.verify(&empty), Err(TokenError::BadAlgorithm));
}

#[test]
fn one_bad_token_costs_a_few_signatures_at_most() {
    let pairs: Vec<Pair> = (0..9).map(|i| Pair::ed25519().named(&format!("k{i}"))).collect();
    let verifier = open_jwks(&jwks(&pairs.iter().collect::<Vec<_>>())).unwrap();
    let nameless = pairs.into_iter().next_back().unwrap().private.named(None);
    let token = sign(json!({}), &ada(), &nameless).unwrap();
    assert_eq!(verifier.verify(&token), Err(TokenError::UnknownKey), "with nine keys the token has to name one");
}

#[test]
fn encrypted_tokens_and_other_shapes_are_refused() {
    let verifier = open(config());
    let header = b64(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#);
    for token in [
        format!("{header}.a2V5.aXY.Y2lwaGVy.dGFn"),
        String::new(),
        ".".into(),
        "..".into(),
        "....".into(),
        "a.b".into(),
        "a.b.c".into(),
        "ä.ö.ü".into(),
        "\0.\0.\0".into(),
        json!({"protected": header, "payload": "", "signature": ""}).to_string(),
    ] {
        assert_eq!(verifier.verify(&token), Err(TokenError::Malformed), "{token:?}");
    }
}

#[test]
fn deeply_nested_json_is_refused_in_claims_that_are_read_and_skipped_in_others() {
    let verifier = open(config());
    let deep = format!("{}{}", "[".repeat(1_500), "]".repeat(1_500));
    for header in [
        format!(r#"{{"alg":"HS256","kid":{deep}}}"#),
        format!(r#"{{"alg":"HS256","crit":{}"#, r#"{"a":"#.repeat(700)),
        "[".repeat(3_000),
    ] {
        assert_eq!(verifier.verify(&signed(&header, &ada().to_string())), Err(TokenError::Malformed));
    }
    let plain = r#"{"alg":"HS256"}"#;
    let read = format!(r#"{{"sub":"ada","exp":{},"aud":{deep}}}"#, NOW + 1);
    assert_eq!(verifier.verify(&signed(plain, &read)), Err(TokenError::Malformed));
    let skipped = format!(r#"{{"sub":"ada","exp":{},"address":{deep}}}"#, NOW + 1);
    assert!(verifier.verify(&signed(plain, &skipped)).is_ok());
}

#[test]
fn a_huge_token_is_refused_before_anything_is_computed() {
    let verifier = open(config());
    let filled = |bytes: usize| sign(json!({}), &but(json!({"x": "x".repeat(bytes)})), &secret()).unwrap();
    assert!(verifier.verify(&filled(5_000)).is_ok());
    assert_eq!(verifier.verify(&filled(8_000)), Err(TokenError::Malformed));
    assert_eq!(verifier.verify(&"x".repeat(64 << 20)), Err(TokenError::Malformed));
}

#[test]
fn an_unknown_key_and_a_bad_signature_have_different_errors() {
    let (ours, theirs) = (Pair::p256().named("ours"), Pair::p256().named("theirs"));
    let verifier = open_jwks(&jwks(&[&ours])).unwrap();
    assert_eq!(verifier.verify(&theirs.token()), Err(TokenError::UnknownKey));
    let renamed = sign(json!({"kid": "ours"}), &ada(), &theirs.private).unwrap();
    assert_eq!(verifier.verify(&renamed), Err(TokenError::BadSignature));
}

#[test]
fn errors_of_key_files_name_the_file_and_not_its_contents() {
    let (pair, weak) = (Pair::p256(), include_str!("../../../../tests/keys/rsa-1024.pub.pem"));
    let certificate = pem("CERTIFICATE", b"none");
    for (text, part) in [
        (pair.private_pem.as_str(), "private key"),
        (RSA_PRIVATE, "private key"),
        (weak, "2048 bits"),
        (&certificate, "x509 -pubkey"),
        ("hunter2", "contains no public key"),
        ("", "contains no public key"),
        ("-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----\n", "not an RSA, EC or Ed25519"),
        (&pem("PUBLIC KEY", b"hunter2"), "not an RSA, EC or Ed25519"),
        (&pem("OPENSSH PUBLIC KEY", b"hunter2"), "is not a public key"),
    ] {
        let error = open_pem(text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("auth.public_key_file") && shown.contains("keys.pem") && shown.contains(part),
            "{shown}"
        );
        assert!(!shown.contains("hunter2") && !shown.contains(text.lines().nth(1).unwrap_or("hunter2")), "{shown}");
    }
    for text in ["hunter2", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[]}"#, r#"{"keys":["hunter2"]}"#] {
        let error = open_jwks(text).unwrap_err().to_string();
        assert!(
            error.contains("auth.jwks_file") && error.contains("keys.json") && !error.contains("hunter2"),
            "{error}"
        );
    }
    let gone = AuthConfig { public_key_file: Some("/nonexistent/key.pem".into()), ..AuthConfig::default() };
    let error = Verifier::open(gone, clock().0).unwrap_err().to_string();
    assert!(error.contains("auth.public_key_file: /nonexistent/key.pem can't be read"), "{error}");
    let endless = AuthConfig { jwks_file: Some("/dev/zero".into()), ..AuthConfig::default() };
    assert!(Verifier::open(endless, clock().0).unwrap_err().to_string().contains("larger than 1 MiB"));
    let short = AuthConfig { secret: "hunter2".into(), ..AuthConfig::default() };
    assert!(matches!(Verifier::open(short, clock().0), Err(KeyError::ShortSecret)));
    assert!(matches!(Verifier::open(AuthConfig::default(), clock().0), Err(KeyError::NoKeys)));
}

#[test]
fn a_set_in_a_file_may_contain_a_long_secret_but_no_short_one() {
    let oct = |secret: &[u8]| json!({"keys": [{"kty": "oct", "k": b64(secret)}]}).to_string();
    let token = sign(json!({}), &ada(), &secret()).unwrap();
    assert!(open_jwks(&oct(SECRET)).unwrap().verify(&token).is_ok());
    assert!(open_jwks(&oct(b"")).is_err() && open_jwks(&oct(&[7; 31])).is_err());
}

proptest! {
    #[test]
    fn no_text_is_ever_accepted_or_panics(text in "\\PC{0,200}") {
        prop_assert!(open(config()).verify(&text).is_err());
    }

    #[test]
    fn no_parts_of_base64_are_ever_accepted(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..5)) {
        let token = parts.iter().map(b64).collect::<Vec<_>>().join(".");
        prop_assert!(open(config()).verify(&token).is_err());
    }

    #[test]
    fn no_changed_character_goes_unnoticed(place in 0_usize..1_000, other in "[A-Za-z0-9_.-]") {
        let token = sign(json!({}), &ada(), &secret()).unwrap();
        let place = place % token.len();
        prop_assume!(token[place..=place] != other);
        let mut changed = token;
        changed.replace_range(place..=place, &other);
        prop_assert!(open(config()).verify(&changed).is_err());
    }
}

//! Tests of accepted tokens: keys, claims, and the end of their validity.

use std::{sync::atomic::Ordering, time::Duration};

use super::*;
use crate::{BindingLists, may_push, may_read_channel};
use tricast_core::{channel::Channel, span::Span};

#[test]
fn every_kind_of_key_verifies_its_own_tokens_from_pem_and_from_a_set() {
    for (pair, algorithm) in [(Pair::p256(), "ES256"), (Pair::ed25519(), "EdDSA"), (Pair::rsa(), "RS256")] {
        let token = pair.token();
        assert!(
            String::from_utf8(BASE64URL_NOPAD.decode(token.split('.').next().unwrap().as_bytes()).unwrap())
                .unwrap()
                .contains(algorithm)
        );
        assert_eq!(&*open_pem(&pair.public_pem).unwrap().verify(&token).unwrap().user, "ada", "{algorithm}");
        assert_eq!(&*open_jwks(&jwks(&[&pair])).unwrap().verify(&token).unwrap().user, "ada", "{algorithm}");
        let named = pair.with(json!({"alg": algorithm, "use": "sig", "key_ops": ["verify"]})).named("2026");
        assert!(open_jwks(&jwks(&[&named])).unwrap().verify(&named.token()).is_ok(), "{algorithm}");
        assert!(
            open_pem(&named.public_pem).unwrap().verify(&named.token()).is_ok(),
            "a file without names: {algorithm}"
        );
    }
}

#[test]
fn all_sources_count_together() {
    let (first, second, third) = (Pair::p256().named("first"), Pair::ed25519(), Pair::p256());
    let directory = tempfile::tempdir().unwrap();
    let verifier = open(AuthConfig {
        public_key_file: Some(write(directory.path(), "k.pem", &(second.public_pem.clone() + &third.public_pem))),
        jwks_file: Some(write(directory.path(), "k.json", &jwks(&[&first]))),
        ..config()
    });
    let by_secret = sign(json!({}), &ada(), &secret()).unwrap();
    for token in [first.token(), second.token(), third.token(), by_secret] {
        assert!(verifier.verify(&token).is_ok());
    }
}

#[test]
fn keys_of_other_types_and_uses_in_a_set_are_skipped() {
    let good = Pair::p256().named("good");
    let others = [
        Pair::ed25519().named("enc").with(json!({"use": "enc"})),
        Pair::ed25519().named("sign").with(json!({"key_ops": ["sign"]})),
        Pair::rsa().named("oaep").with(json!({"alg": "RSA-OAEP"})),
        Pair::rsa().named("crossed").with(json!({"alg": "ES256"})),
        Pair::p256().named("curve").with(json!({"crv": "secp256k1"})),
        Pair::p256().named("short").with(json!({"x": "AAAA"})),
        Pair::p256().named("kind").with(json!({"kty": "AKP"})),
        Pair::rsa().named("weak").with(json!({"n": b64([0xff; 128])})),
    ];
    let mut all: Vec<&Pair> = others.iter().collect();
    all.push(&good);
    let verifier = open_jwks(&jwks(&all)).unwrap();
    assert!(verifier.verify(&good.token()).is_ok());
    for pair in &others {
        assert_eq!(
            verifier.verify(&pair.token()).unwrap_err(),
            match pair.jwk["kid"].as_str() {
                Some("curve" | "short" | "kind") => TokenError::UnknownKey,
                _ => TokenError::BadAlgorithm,
            },
            "{}",
            pair.jwk["kid"]
        );
    }
    assert!(open_jwks(&jwks(&others.iter().collect::<Vec<_>>())).is_err());
}

#[test]
fn an_identity_has_the_values_of_the_claims() {
    let identity = claimed(&ada()).unwrap();
    assert_eq!((identity.tenant.as_str(), &*identity.user, identity.is_anonymous()), ("acme", "ada", false));
    assert!(identity.may(Permission::ReadMetrics) && !identity.may(Permission::ReadOrders));
    assert_eq!(identity.expires_at.unwrap().as_second(), NOW + 3_600 + 5, "with the leeway");
    let permissions = |claims: Value| claimed(&claims).unwrap().permissions.names().collect::<Vec<_>>();
    let plain = json!({"sub": "ada", "exp": NOW + 1});
    assert_eq!(claimed(&plain).unwrap().tenant, TenantName::default_name());
    assert!(permissions(plain).is_empty());
    let scoped = json!({"sub": "ada", "exp": NOW + 1, "scope": "openid read:orders  admin"});
    assert_eq!(permissions(scoped), ["read:orders", "admin"]);
    assert_eq!(permissions(but(json!({"scope": "admin"}))), ["read:metrics"], "the list takes precedence");
    assert_eq!(permissions(but(json!({"permissions": ["read:alerts", "fly", ""]}))), ["read:alerts"]);
    let bound = claimed(&but(json!({"permissions": ["admin"], "channels": {"push": ["metrics.ci.*"]}}))).unwrap();
    assert_eq!(bound.permissions, Permissions::NONE, "channels take the place of permissions");
    let [inside, outside] = ["metrics.ci.build", "metrics.api"].map(|name| Channel::parse(name).unwrap());
    assert!(may_push(&bound, &inside) && !may_push(&bound, &outside) && !may_read_channel(&bound, &inside));
    assert!(claimed(&but(json!({"channels": {}}))).is_ok_and(|nothing| !may_push(&nothing, &inside)));
    assert!(claimed(&but(json!({"sub": "x".repeat(128)}))).is_ok());
    assert!(claimed(&but(json!({"exp": NOW as f64 + 1.5, "nbf": 0.5}))).is_ok(), "fractions are allowed");
}

#[test]
fn a_cached_token_still_expires() {
    let (clock, now) = clock();
    let verifier = Verifier::open(AuthConfig { leeway: Span::ZERO, ..config() }, clock).unwrap();
    let token = sign(json!({}), &but(json!({"exp": NOW + 10, "nbf": NOW})), &secret()).unwrap();
    let at = |second: i64| {
        now.store(NOW + second, Ordering::Relaxed);
        verifier.verify(&token).map(drop)
    };
    assert_eq!(at(-1), Err(TokenError::NotYetValid));
    assert_eq!(at(0), Ok(()));
    assert_eq!(at(9), Ok(()));
    assert_eq!(at(10), Err(TokenError::Expired));
    assert_eq!(at(-1), Err(TokenError::NotYetValid));
}

#[test]
fn clocks_may_differ_by_the_leeway_and_no_more() {
    let late = |seconds| claimed(&but(json!({"exp": NOW - seconds}))).map(drop);
    assert_eq!((late(4), late(5)), (Ok(()), Err(TokenError::Expired)));
    let early = |seconds| claimed(&but(json!({"nbf": NOW + seconds}))).map(drop);
    assert_eq!((early(5), early(6)), (Ok(()), Err(TokenError::NotYetValid)));
}

#[test]
fn issuer_and_audience_are_checked_if_they_are_configured() {
    let strict = AuthConfig { issuer: Some("https://id.example".into()), audience: Some("tricast".into()), ..config() };
    let strict = open(strict);
    let verdict = |iss: Value, aud: Value| {
        strict.verify(&sign(json!({}), &but(json!({"iss": iss, "aud": aud})), &secret()).unwrap()).map(drop)
    };
    let iss = || json!("https://id.example");
    assert_eq!(verdict(iss(), json!("tricast")), Ok(()));
    assert_eq!(verdict(iss(), json!(["account", "tricast"])), Ok(()));
    for wrong in
        [json!("account"), json!(["account"]), json!([]), json!(null), json!(7), json!([["tricast"]]), json!("Tricast")]
    {
        assert_eq!(verdict(iss(), wrong.clone()), Err(TokenError::WrongAudience), "{wrong}");
    }
    for wrong in [json!("https://id.example/"), json!(["https://id.example"]), json!(null), json!("")] {
        assert_eq!(verdict(wrong.clone(), json!("tricast")), Err(TokenError::WrongIssuer), "{wrong}");
    }
    let neither = sign(json!({}), &ada(), &secret()).unwrap();
    assert_eq!(strict.verify(&neither), Err(TokenError::WrongIssuer));
    assert!(claimed(&but(json!({"iss": "anybody", "aud": ["anything"]}))).is_ok());
}

#[test]
fn many_threads_get_the_same_results() {
    let verifier = open(config());
    let tokens: Vec<String> =
        (0..40).map(|i| sign(json!({}), &but(json!({"sub": format!("user-{i}")})), &secret()).unwrap()).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (verifier, tokens) = (verifier.clone(), &tokens);
            scope.spawn(move || {
                for round in 0..200 {
                    let i = (round * 7 + thread) % tokens.len();
                    assert_eq!(&*verifier.verify(&tokens[i]).unwrap().user, format!("user-{i}"));
                    let mut bad = tokens[i].clone();
                    bad.replace_range(bad.len() - 4.., "AAAA");
                    assert_eq!(verifier.verify(&bad), Err(TokenError::BadSignature));
                }
            });
        }
    });
}

#[test]
fn minted_tokens_are_accepted() {
    let claims = mint::Claims {
        user: "ada".into(),
        tenant: TenantName::parse("acme").unwrap(),
        permissions: Permissions::ALL,
        binding: None,
        now: Timestamp::from_second(NOW).unwrap(),
        expires: Duration::from_secs(60),
        not_before: Some(Duration::ZERO),
        issuer: Some("me".into()),
        audience: Some("tricast".into()),
    };
    let config = AuthConfig { issuer: Some("me".into()), audience: Some("tricast".into()), ..config() };
    let identity = open(config.clone()).verify(&mint::mint(&claims, &secret()).unwrap()).unwrap();
    assert_eq!((identity.tenant.as_str(), identity.permissions), ("acme", Permissions::ALL));
    for user in ["", "a\nb", &"x".repeat(129)] {
        let bad = mint::Claims { user: user.into(), ..claims.clone() };
        assert!(matches!(mint::mint(&bad, &secret()), Err(mint::MintError::BadUser)));
    }
    let lists = BindingLists { read: vec!["orders".into()], push: vec!["metrics.ci.*".into()] };
    let binding = lists.parse().unwrap();
    let bound = mint::Claims { binding: Some(binding.clone()), ..claims.clone() };
    let identity = open(config).verify(&mint::mint(&bound, &secret()).unwrap()).unwrap();
    assert_eq!((identity.binding(), identity.permissions), (Some(&binding), Permissions::NONE));
    let far = mint::Claims { expires: Duration::MAX, ..claims };
    assert!(matches!(mint::mint(&far, &secret()), Err(mint::MintError::BadTime)));
}

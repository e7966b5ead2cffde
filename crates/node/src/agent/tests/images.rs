//! Images that not every pod may use (KEP-2535).

use super::*;
use crate::images::Verification;

const IMAGE: &str = "registry.io/team/app:1";

fn private_image(world: &World) {
    let credentials =
        runtime::Credentials { username: "me".to_owned(), password: "secret".to_owned(), ..Default::default() };
    world.runtime.state.lock().unwrap().private_images.insert(IMAGE.to_owned(), credentials);
}

fn secret(world: &World, name: &str, auth: &str) {
    let text = format!(r#"{{"auths":{{"registry.io":{{{auth}}}}}}}"#);
    let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{name}","namespace":"n","uid":"uid-{name}"}},
            "type":"kubernetes.io/dockerconfigjson","data":{{".dockerconfigjson":"{data}"}}}}"#
    );
    world.api.put("secrets", "n", name, Value::parse(text.as_bytes()).unwrap());
}

fn pod(world: &World, name: &str, policy: &str, secret: &str) {
    world.pod(
        name,
        &format!(
            r#"{{"nodeName":"node1","imagePullSecrets":[{secret}],
                "containers":[{{"name":"a","image":"{IMAGE}","imagePullPolicy":"{policy}"}}]}}"#
        ),
    );
}

fn waits_for(status: &Value, reason: &str) -> bool {
    container(status).str_at(&["state", "waiting", "reason"]) == Some(reason)
}

#[tokio::test(start_paused = true)]
async fn a_pod_needs_the_credentials_that_pulled_an_image() {
    let world = World::new();
    private_image(&world);
    secret(&world, "right", r#""username":"me","password":"secret""#);
    secret(&world, "same", r#""auth":"bWU6c2VjcmV0""#);
    secret(&world, "wrong", r#""username":"me","password":"guess""#);
    pod(&world, "first", "IfNotPresent", r#"{"name":"right"}"#);
    world.until("first", |s| phase(s) == "Running").await;
    let there = format!("Pulled: Container image {IMAGE:?} already present on machine and can be accessed by the pod");
    assert!(!world.api.events().contains(&there));
    pod(&world, "bare", "IfNotPresent", "");
    pod(&world, "wrong", "IfNotPresent", r#"{"name":"wrong"}"#);
    pod(&world, "never", "Never", "");
    for (name, reason) in [("bare", "ErrImagePull"), ("wrong", "ErrImagePull"), ("never", "ErrImageNeverPull")] {
        world.until(name, |s| waits_for(s, reason)).await;
    }
    let told = world.api.events().join("\n");
    assert!(told.contains(&format!("Failed to pull image {IMAGE:?}: unauthorized")), "{told}");
    assert!(told.contains(&format!("Container image {IMAGE:?} is not present with pull policy of Never")), "{told}");
    // Others with the same credentials need no registry, and another name for them is one.
    world.runtime.state.lock().unwrap().private_images.insert(IMAGE.to_owned(), Default::default());
    pod(&world, "second", "Never", r#"{"name":"same"}"#);
    world.until("second", |s| phase(s) == "Running").await;
    assert!(world.api.events().contains(&there), "{:?}", world.api.events());
}

#[tokio::test(start_paused = true)]
async fn what_anybody_may_pull_anybody_may_use() {
    let world = World::new();
    pod(&world, "first", "IfNotPresent", "");
    world.until("first", |s| phase(s) == "Running").await;
    pod(&world, "second", "Never", "");
    world.until("second", |s| phase(s) == "Running").await;
}

#[tokio::test(start_paused = true)]
async fn a_node_may_look_at_no_credentials_or_at_all() {
    for (verification, reason) in [(Verification::Never, None), (Verification::Always, Some("ErrImagePull"))] {
        seams::clock::simulate("2026-01-01T00:00:00Z".parse().unwrap());
        let world = World::with(|options| options.image_verification = verification);
        private_image(&world);
        world.runtime.state.lock().unwrap().images.push(IMAGE.to_owned());
        pod(&world, "p", "IfNotPresent", "");
        world.until("p", |s| reason.map_or(phase(s) == "Running", |reason| waits_for(s, reason))).await;
    }
}

//! Laptops that sleep, and clocks that are set while the daemon runs. The clock is ours, AWS's is right.

use crate::outage::Inside;
use crate::support::client;

#[tokio::test]
async fn a_clock_set_forwards_by_ten_hours_leaves_clients_the_imds_tokens_they_hold() {
    let inside = Inside::start().await;
    let token = client::imds_token(&inside.http).await;

    inside.clock.jump(time::Duration::hours(10));
    // A client may wake the keeper a second after a success.
    tokio::time::advance(std::time::Duration::from_secs(1)).await;

    assert_eq!(client::imds_list(&inside.http, &token).await.status, 200);
}

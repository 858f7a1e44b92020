use super::*;
use crate::frame::{self, FRAME_BYTES_MAX, Frame, Limits};

fn decoded(bytes: &[u8]) -> Frame<'_> {
    let (frame, used) = frame::decode(bytes, &Limits::default()).unwrap().unwrap();
    assert_eq!(used, bytes.len());
    frame
}

#[test]
fn json_replies_look_like_rocketmq_5_5() {
    let mut out = BytesMut::new();
    let response = OffsetResponse { offset: 5 };
    encode_reply(&mut out, Serialize::Json, ResponseCode::Success, 3, None, &response.fields(), b"x");
    let header = r#"{"code":0,"extFields":{"offset":"5"},"flag":1,"language":"JAVA","opaque":3,"serializeTypeCurrentRPC":"JSON","version":513}"#;
    assert_eq!(&out[8..out.len() - 1], header.as_bytes());
    let mut out = BytesMut::new();
    let remark = not_supported(77);
    encode_reply(
        &mut out,
        Serialize::Json,
        ResponseCode::RequestCodeNotSupported,
        -3,
        Some(&remark),
        &[],
        b"",
    );
    let header = r#"{"code":3,"flag":1,"language":"JAVA","opaque":-3,"remark":" request type 77 not supported","serializeTypeCurrentRPC":"JSON","version":513}"#;
    assert_eq!(&out[8..], header.as_bytes());
}

#[test]
fn typed_replies_come_back() {
    let send = SendMessageResponse {
        message_id: "7F00000100002A9F0000000000001234".into(),
        queue_id: 3,
        queue_offset: i64::MAX,
        transaction_id: None,
        recall_handle: None,
        batch_unique_id: None,
    };
    let pull = PullMessageResponse {
        offset_delta: Some(1000),
        suggest_which_broker_id: 0,
        next_begin_offset: 32,
        min_offset: 0,
        max_offset: 64,
        topic_sys_flag: Some(0),
        group_sys_flag: None,
    };
    for serialize in [Serialize::Json, Serialize::Binary] {
        let mut out = BytesMut::new();
        encode_reply(&mut out, serialize, ResponseCode::Success, 1, None, &send.fields(), b"");
        let frame = decoded(&out);
        assert!(frame.is_reply() && !frame.is_oneway());
        assert_eq!((frame.version, frame.language), (VERSION_5_5_0, language::JAVA));
        assert_eq!(SendMessageResponse::decode(&frame.ext).unwrap(), send);
        assert_eq!(frame.ext.get("MSG_REGION").as_deref(), Some("DefaultRegion"));

        let mut out = BytesMut::new();
        encode_reply_head(&mut out, serialize, ResponseCode::Success, 2, Some("FOUND"), &pull.fields(), 6)
            .unwrap();
        out.extend_from_slice(b"record");
        let frame = decoded(&out);
        assert_eq!(frame.body, b"record");
        assert_eq!(frame.remark.as_deref(), Some("FOUND"));
        assert_eq!(PullMessageResponse::decode(&frame.ext).unwrap(), pull);
    }
}

#[test]
fn what_does_not_fit_is_an_error_reply() {
    for serialize in [Serialize::Json, Serialize::Binary] {
        let mut out = BytesMut::new();
        let body = vec![0; FRAME_BYTES_MAX];
        encode_reply(&mut out, serialize, ResponseCode::Success, 1, None, &[], &body);
        let frame = decoded(&out);
        assert_eq!((frame.code, frame.opaque), (1, 1));
        assert!(frame.remark.is_some_and(|remark| remark.contains("16777216")));

        let mut out = BytesMut::new();
        let remark = "ü".repeat(REMARK_BYTES_MAX);
        encode_reply(&mut out, serialize, ResponseCode::SystemError, 1, Some(&remark), &[], b"");
        assert_eq!(decoded(&out).remark.unwrap().len(), REMARK_BYTES_MAX);
    }
}

#[test]
fn replies_to_pops_come_back() {
    let pop = PopMessageResponse {
        pop_time: 1_700_000_000_000,
        invisible_time: 60_000,
        revive_queue_id: 3,
        rest_num: 7,
        start_offset_info: Some("0 1 2".into()),
        msg_offset_info: Some("0 1 2".into()),
        order_count_info: None,
    };
    let change = ChangeInvisibleTimeResponse { pop_time: 1, invisible_time: 2, revive_queue_id: 999 };
    let notification = NotificationResponse { has_msg: true, polling_full: false };
    let info = PollingInfoResponse { polling_num: 5 };
    let sent = |fields: &[ExtField<'_>]| {
        let mut out = BytesMut::new();
        encode_reply(&mut out, Serialize::Json, ResponseCode::Success, 1, None, fields, b"");
        out
    };
    assert_eq!(PopMessageResponse::decode(&decoded(&sent(&pop.fields())).ext), Ok(pop.clone()));
    assert_eq!(ChangeInvisibleTimeResponse::decode(&decoded(&sent(&change.fields())).ext), Ok(change));
    assert_eq!(NotificationResponse::decode(&decoded(&sent(&notification.fields())).ext), Ok(notification));
    assert_eq!(PollingInfoResponse::decode(&decoded(&sent(&info.fields())).ext), Ok(info));
}

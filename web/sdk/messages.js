/**
 * The `salam.v1.json` messages as types; the server's schema is the source.
 *
 * @typedef {"audio" | "video"} Kind
 * @typedef {"microphone" | "camera" | "screen" | "screen_audio"} Source
 * @typedef {"offline" | "starting" | "live" | "interrupted" | "ended"} StreamState
 * @typedef {"good" | "uplink_loss" | "downlink_loss" | "high_rtt" | "low_bitrate" | "lost"} QualityReason
 *
 * @typedef {{mid: string, source: Source, muted?: boolean}} PublishedTrack
 * @typedef {{track_id: string, kind: Kind, source: Source, muted?: boolean, muted_by_moderator?: boolean, layers?: string[]}} TrackInfo
 * @typedef {{participant_id: string, name: string, hand_raised?: boolean, moderator?: boolean, connected?: boolean, keys_revision?: number,
 *   tracks?: TrackInfo[]}} ParticipantInfo
 * @typedef {{mid: string, participant_id: string, track_id: string, kind: Kind, source: Source}} SubscribedTrack
 * @typedef {{chat_id: string, participant_id: string, name: string, text: string, sent_at: number}} ChatLine
 * @typedef {{participant_id: string, level_dbov: number}} SpeakerLevel
 * @typedef {{participant_id: string, score: number, reason?: QualityReason, rtt_ms?: number, loss_percent?: number}} QualityReport
 * @typedef {{urls: string[], username?: string, credential?: string}} IceServer
 *
 * @typedef {{t: "welcome", re: number, session_id: string, resume: string, resumed?: boolean, server?: string, user_id?: string, guest?: boolean,
 *   heartbeat_s?: number, resume_grace_s?: number, ice_servers?: IceServer[]}} Welcome
 * @typedef {{t: "joined", re: number, room: string, participant_id: string, moderator?: boolean, can_publish?: boolean,
 *   participants?: ParticipantInfo[], chat?: ChatLine[], ice_servers?: IceServer[], ice_ttl_s?: number}} Joined
 * @typedef {{t: "publish_answer", re: number, sdp: string, track_ids: Record<string, string>}} PublishAnswer
 * @typedef {{t: "watching", re: number, stream: string, state: StreamState, viewers?: number, chat?: ChatLine[]}} Watching
 * @typedef {{t: "keys_published", re: number, revision: number, one_time_left?: number, kem_one_time_left?: number}} KeysPublished
 * @typedef {{participant_id: string, user_id: string, device_id: number, revision: number, device_list: string, certificates: string[]}} ParticipantDevice
 * @typedef {{t: "devices", re: number, devices?: ParticipantDevice[]}} Devices
 * @typedef {{participant_id: string, device_id: number, certificate: string, signed_prekey: string, one_time_prekey?: string, kem_prekey?: string,
 *   kem_once?: boolean}} KeyBundle
 * @typedef {{t: "key_bundles", re: number, bundles?: KeyBundle[]}} KeyBundles
 * @typedef {{t: "secure_sent", re: number, refused?: {participant_id: string, device_id: number, reason: "gone" | "device" | "full"}[]}} SecureSent
 * @typedef {{t: "error", re: number, code: string, message: string, retryable?: boolean}} ErrorReply
 *
 * @typedef {{t: "subscribe_offer", revision: number, sdp: string, tracks?: SubscribedTrack[]}} SubscribeOffer
 * @typedef {{t: "stream_changed", stream: string, state: StreamState, viewers?: number}} StreamChanged
 *
 * @typedef {{number: number, participant_id: string, user_id: string, device_id: number, purpose?: "chat" | "keys", message: string}} SecureMessage
 *
 * @typedef {object} ServerEvents  event name to message
 * @property {{participant: ParticipantInfo}} participant_joined
 * @property {{participant_id: string, reason?: "left" | "lost" | "removed" | "closed"}} participant_left
 * @property {{participant: ParticipantInfo}} participant_updated
 * @property {{room: string, participant: ParticipantInfo, can_publish?: boolean, participants?: ParticipantInfo[], chat?: ChatLine[]}} room_state
 * @property {{stream: string, state: StreamState, viewers?: number, chat?: ChatLine[]}} stream_state
 * @property {{ice_servers?: IceServer[], ice_ttl_s?: number}} ice_servers
 * @property {SubscribeOffer} subscribe_offer
 * @property {{track_id: string, rid?: string}} layer_changed
 * @property {{speakers?: SpeakerLevel[]}} speakers
 * @property {{reports?: QualityReport[]}} quality
 * @property {{track_id: string, by?: string}} mute_requested
 * @property {{line: ChatLine, stream?: string}} chat_line
 * @property {StreamChanged} stream_changed
 * @property {{stream: string, emoji: string}} reaction
 * @property {SecureMessage} secure_message
 * @property {{one_time_left?: number, kem_one_time_left?: number}} keys_low
 * @property {{reason: "moderator" | "replaced" | "room_closed"}} removed
 * @property {{retry_after_s: number}} drain
 */

export {};

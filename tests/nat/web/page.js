// A phone in a browser's page: JsSIP or SIP.js, a tone as its microphone, an ear for the other side's tone.
// What happens is told through tell(TEXT), which the driver has put on the window.

import * as JsSIP from "jssip";
import { Inviter, Registerer, RegistererState, SessionState, UserAgent, Web } from "sip.js";

const DOMAIN = "cluster.test";
// The lowest level, in dB, that counts as a tone, and how much of it is heard before it is told.
const LEVEL = -50;
const TIMES = 5;

// What this phone looks like from outside, an edge tells. Not on port 5060: Chromium sends nothing there.
const ICE = { iceServers: [{ urls: `stun:10.99.0.11:3478` }] };

const tell = (text) => window.tell(text);

// A microphone that hums.
function microphone(hertz) {
    const context = new AudioContext();
    const tone = context.createOscillator();
    const out = context.createMediaStreamDestination();
    tone.frequency.value = hertz;
    tone.connect(out);
    tone.start();
    return out.stream;
}

// Tells the loudest tone once it has been the same for a while.
function listen(track) {
    const stream = new MediaStream([track]);
    // Chromium feeds a remote track to a graph only when an element plays it, too.
    const element = new Audio();
    element.muted = true;
    element.srcObject = stream;
    element.play();
    const context = new AudioContext();
    const ear = context.createAnalyser();
    ear.fftSize = 4096;
    context.createMediaStreamSource(stream).connect(ear);
    const levels = new Float32Array(ear.frequencyBinCount);
    const width = context.sampleRate / ear.fftSize;
    let last = 0;
    let times = 0;
    const timer = setInterval(() => {
        ear.getFloatFrequencyData(levels);
        const peak = levels.indexOf(Math.max(...levels));
        const same = levels[peak] > LEVEL && Math.abs(peak - last) <= 1;
        times = same ? times + 1 : 0;
        last = peak;
        if (times === TIMES) {
            tell(`heard ${Math.round(peak * width)}`);
            clearInterval(timer);
        }
    }, 100);
}

class JsSipPhone {
    constructor({ url, user, password, tone }) {
        this.media = microphone(tone);
        this.ua = new JsSIP.UA({
            sockets: [new JsSIP.WebSocketInterface(url)],
            uri: `sip:${user}@${DOMAIN}`,
            password,
            register_expires: 120,
            session_timers: false,
        });
        this.ua.on("registered", () => tell("registered"));
        this.ua.on("registrationFailed", (e) => tell(`not registered: ${e.cause}`));
        this.ua.on("disconnected", () => tell("disconnected"));
        this.ua.on("newRTCSession", ({ originator, session }) => this.follow(originator, session));
        this.ua.start();
    }

    follow(originator, session) {
        this.session = session;
        session.on("confirmed", () => tell("established"));
        session.on("ended", () => tell("ended"));
        session.on("failed", (e) => tell(`failed: ${e.cause}`));
        if (originator === "remote") {
            tell("called");
            session.on("peerconnection", ({ peerconnection }) => this.hear(peerconnection));
            session.answer({ mediaStream: this.media, pcConfig: ICE });
        }
    }

    hear(connection) {
        connection.addEventListener("track", ({ track }) => listen(track));
    }

    call(user) {
        const session = this.ua.call(`sip:${user}@${DOMAIN}`, {
            mediaStream: this.media,
            pcConfig: ICE,
        });
        this.hear(session.connection);
    }

    hangUp() {
        this.session.terminate();
    }
}

class SipJsPhone {
    constructor({ url, user, password, tone }) {
        const media = microphone(tone);
        this.ua = new UserAgent({
            uri: UserAgent.makeURI(`sip:${user}@${DOMAIN}`),
            authorizationUsername: user,
            authorizationPassword: password,
            transportOptions: { server: url },
            sessionDescriptionHandlerFactory: Web.defaultSessionDescriptionHandlerFactory(async () => media),
            sessionDescriptionHandlerFactoryOptions: { iceGatheringTimeout: 500, peerConnectionConfiguration: ICE },
            logLevel: "warn",
            delegate: {
                onInvite: (invitation) => {
                    tell("called");
                    this.follow(invitation);
                    invitation.accept();
                },
                onDisconnect: () => tell("disconnected"),
            },
        });
        this.registerer = new Registerer(this.ua, { expires: 120 });
        this.registerer.stateChange.addListener((state) => {
            if (state === RegistererState.Registered) tell("registered");
        });
        const refused = { requestDelegate: { onReject: (r) => tell(`not registered: ${r.message.statusCode}`) } };
        this.ua.start().then(() => this.registerer.register(refused));
    }

    follow(session) {
        this.session = session;
        session.stateChange.addListener((state) => {
            if (state === SessionState.Established) {
                tell("established");
                const connection = session.sessionDescriptionHandler.peerConnection;
                connection.getReceivers().forEach(({ track }) => listen(track));
            }
            if (state === SessionState.Terminated) tell("ended");
        });
    }

    call(user) {
        const session = new Inviter(this.ua, UserAgent.makeURI(`sip:${user}@${DOMAIN}`));
        this.follow(session);
        session.invite({ requestDelegate: { onReject: (r) => tell(`failed: ${r.message.statusCode}`) } });
    }

    hangUp() {
        this.session.bye();
    }
}

window.open_phone = (kind, options) => {
    window.phone = kind === "jssip" ? new JsSipPhone(options) : new SipJsPhone(options);
};

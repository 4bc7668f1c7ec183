import { performance } from 'node:perf_hooks';
import type { Stream } from '@libp2p/interface';
import { sentenceOf } from '../../protocol/errors.ts';

/** Frames that wait at the same time are written together, up to so many bytes. */
const writeBytes = 32 << 10;
/** The length before each frame. */
const headBytes = 4;

interface FrameLimits {
  /** A received frame may have so many bytes; a longer one ends the channel. */
  receiveBytes: number;
  /** So many bytes may wait to be sent. */
  queueBytes: number;
}

/**
 * Length-prefixed frames (4 bytes, big endian) on one libp2p stream. Order is kept; nothing is ever repeated.
 * Everything of `libp2p.md` §3 that bites is in here: `send()` returning false means wait for a `drain` *event*
 * (`onDrain()` works once); reading goes by `message` events, handled at once, so that the unread 4 MiB of a paused
 * stream never happen; `end`, not `remoteCloseWrite`, means that all was read.
 */
export class FrameChannel {
  readonly stream: Stream;
  /** When the last byte came, by the monotonic clock (ms). */
  lastHeardAt = performance.now();
  lastSentAt = performance.now();
  /** Why the channel ended; null while it is open. */
  ended: string | null = null;
  /** True when the channel ended because the other side broke the rules of framing. */
  isBroken = false;
  /** Frames that were queued and not dropped since, empty ones left out. */
  framesTaken = 0;
  /** Frames that gave way to others. */
  framesDropped = 0;
  #limits: FrameLimits;
  #chunks: Uint8Array[] = [];
  #buffered = 0;
  #queue: { bytes: Uint8Array; droppable: boolean }[] = [];
  #queued = 0;
  #isBlocked = false;
  #isGathering = false;
  #onFrame: ((frame: Uint8Array) => void) | null = null;
  #onEnd: ((because: string) => void)[] = [];
  #unread: Uint8Array[] = [];
  #wanted: (() => void) | null = null;

  constructor(stream: Stream, limits: FrameLimits) {
    this.stream = stream;
    this.#limits = limits;
    stream.addEventListener('message', (event) => {
      const data = event.data;
      if (data instanceof Uint8Array) this.#heard(data);
      else for (const part of data) this.#heard(part);
    });
    stream.addEventListener('drain', () => {
      this.#isBlocked = false;
      this.#flush();
    });
    stream.addEventListener('end', () => this.close('the other side ended it'));
    stream.addEventListener('close', (event) =>
      this.#end(event.error ? `the stream broke: ${sentenceOf(event.error)}` : 'the stream was closed'),
    );
    // A stream may be over before anybody listens, when the other side refuses it; its events do not come again.
    // What it had to say is handed over first, in a microtask that was queued above.
    queueMicrotask(() => {
      if (stream.status !== 'open') this.#end('the other side refused it');
      else if (stream.readableEnded) this.close('the other side ended it');
    });
  }

  /** All that was queued is on its way. */
  get isDrained(): boolean {
    return this.#queue.length === 0 && this.ended === null;
  }

  /** Raises the limit of a received frame, after the opening has been checked. */
  setReceiveBytes(bytes: number): void {
    this.#limits = { ...this.#limits, receiveBytes: bytes };
  }

  /** Takes frames as they come, in order. What came before is handed over first. */
  onFrame(take: (frame: Uint8Array) => void): void {
    this.#onFrame = take;
    const before = this.#unread;
    this.#unread = [];
    for (const frame of before) if (this.ended === null) take(frame);
  }

  /** `told` is called once when the channel ends, at once when it has ended already. */
  onEnd(told: (because: string) => void): void {
    if (this.ended === null) this.#onEnd.push(told);
    else told(this.ended);
  }

  /** The next frame; null when the channel ends or `timeoutMs` pass first. For conversations of question and answer. */
  async next(timeoutMs: number): Promise<Uint8Array | null> {
    const deadline = performance.now() + timeoutMs;
    while (this.#unread.length === 0 && this.ended === null) {
      const left = deadline - performance.now();
      if (left <= 0) return null;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, left);
        const me = this;
        function done(): void {
          clearTimeout(timer);
          me.#wanted = null;
          resolve();
        }
        this.#wanted = done;
      });
    }
    return this.#unread.shift() ?? null;
  }

  /**
   * Queues one frame. False when it was dropped: the queue is full of frames that must not be dropped, or the channel
   * has ended. `droppable` frames (heartbeats) give way to others, oldest first.
   */
  send(payload: Uint8Array, droppable = false): boolean {
    if (this.ended !== null) return false;
    const bytes = new Uint8Array(payload.byteLength + headBytes);
    new DataView(bytes.buffer).setUint32(0, payload.byteLength);
    bytes.set(payload, headBytes);
    while (this.#queued + bytes.byteLength > this.#limits.queueBytes) {
      const at = this.#queue.findIndex((one) => one.droppable);
      if (at < 0) return false;
      const goneBytes = this.#queue.splice(at, 1)[0]?.bytes.byteLength ?? 0;
      this.#queued -= goneBytes;
      this.framesDropped += 1;
      if (goneBytes > headBytes) this.framesTaken -= 1;
    }
    this.#queue.push({ bytes, droppable });
    this.#queued += bytes.byteLength;
    if (payload.byteLength > 0) this.framesTaken += 1;
    if (!this.#isGathering) this.#sendAndGather();
    return this.ended === null;
  }

  /** The first frame of a turn of the event loop goes out at once; what follows in the same turn, as one write after it. */
  #sendAndGather(): void {
    this.#flush();
    this.#isGathering = true;
    setImmediate(() => {
      this.#isGathering = false;
      if (this.#queue.length > 0) this.#sendAndGather();
    });
  }

  /** Sends what is queued, as far as it goes, then ends politely. */
  close(because: string): void {
    if (this.ended !== null) return;
    this.#flush();
    if (this.ended !== null) return;
    this.#end(because);
    this.stream.close({ signal: AbortSignal.timeout(1000) }).catch((error) => this.stream.abort(error as Error));
  }

  /** Ends at once; the other side sees a reset. */
  abort(because: string): void {
    const wasOpen = this.ended === null;
    this.#end(because);
    if (wasOpen || this.stream.status === 'open') this.stream.abort(new Error(because));
  }

  #break(because: string): void {
    this.isBroken = true;
    this.abort(because);
  }

  #end(because: string): void {
    if (this.ended !== null) return;
    this.ended = because;
    this.#queue = [];
    this.#queued = 0;
    this.#chunks = [];
    this.#wanted?.();
    for (const told of this.#onEnd.splice(0)) told(because);
  }

  #flush(): void {
    while (!this.#isBlocked && this.ended === null) {
      const bytes = this.#takeQueued();
      if (!bytes) return;
      try {
        this.#isBlocked = !this.stream.send(bytes);
        this.lastSentAt = performance.now();
      } catch (error) {
        this.abort(`sending failed: ${sentenceOf(error)}`);
      }
    }
  }

  /** The next frames, as many as fit one write; null when there are none. */
  #takeQueued(): Uint8Array | null {
    const first = this.#queue.shift();
    if (!first) return null;
    const together = [first.bytes];
    let size = first.bytes.byteLength;
    for (let next = this.#queue[0]; next && size + next.bytes.byteLength <= writeBytes; next = this.#queue[0]) {
      this.#queue.shift();
      together.push(next.bytes);
      size += next.bytes.byteLength;
    }
    this.#queued -= size;
    return together.length === 1 ? first.bytes : Buffer.concat(together, size);
  }

  #heard(bytes: Uint8Array): void {
    if (this.ended !== null || bytes.byteLength === 0) return;
    this.lastHeardAt = performance.now();
    this.#chunks.push(bytes);
    this.#buffered += bytes.byteLength;
    while (this.#buffered >= headBytes && this.ended === null) {
      const length = this.#peekLength();
      if (length > this.#limits.receiveBytes) {
        this.#break(`a frame of ${length} bytes is over the limit of ${this.#limits.receiveBytes}`);
        return;
      }
      if (this.#buffered < headBytes + length) return;
      this.#take(headBytes);
      this.#deliver(this.#take(length));
    }
  }

  #deliver(frame: Uint8Array): void {
    if (this.#onFrame) this.#onFrame(frame);
    // Nobody asked yet: a conversation has few frames in flight, more is abuse.
    else if (this.#unread.length >= 16) this.#break('too many frames that nobody asked for');
    else {
      this.#unread.push(frame);
      this.#wanted?.();
    }
  }

  #peekLength(): number {
    const first = this.#chunks[0] as Uint8Array;
    if (first.byteLength < headBytes) {
      const joined = this.#take(this.#buffered);
      this.#chunks = [joined];
      this.#buffered = joined.byteLength;
    }
    const head = this.#chunks[0] as Uint8Array;
    return new DataView(head.buffer, head.byteOffset, headBytes).getUint32(0);
  }

  /** Cuts `count` bytes off the front. */
  #take(count: number): Uint8Array {
    const first = this.#chunks[0];
    this.#buffered -= count;
    if (first && first.byteLength >= count) {
      if (first.byteLength === count) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(count);
      return first.subarray(0, count);
    }
    const out = new Uint8Array(count);
    let filled = 0;
    while (filled < count) {
      const chunk = this.#chunks[0] as Uint8Array;
      const part = chunk.subarray(0, count - filled);
      out.set(part, filled);
      filled += part.byteLength;
      if (part.byteLength === chunk.byteLength) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(part.byteLength);
    }
    return out;
  }
}

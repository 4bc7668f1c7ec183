import { EventEmitter } from 'node:events';
import { Readable, Writable } from 'node:stream';
import { brokenPipe } from './child-line.ts';
import { chunksTaken, type FromStarter, type OutputFd, type ToStarter } from './starter-messages.ts';

/** What the agent uses of a child, wherever it was started. Emits `spawn` or `error`, then `exit`, then `close`. */
export interface Child extends EventEmitter {
  /** Undefined until `spawn`. */
  readonly pid?: number | undefined;
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  readonly exitCode: number | null;
  readonly signalCode: NodeJS.Signals | null;
  kill(signal?: NodeJS.Signals): boolean;
  ref(): void;
  unref(): void;
}

type Say = (message: ToStarter) => void;

/** A child that the starter's process started and waits for, as its own agent sees it. */
export class FarChild extends EventEmitter implements Child {
  readonly #id: number;
  readonly #say: Say;
  readonly #onRef: (isReferenced: boolean) => void;
  readonly #owed = { 1: 0, 2: 0 };
  #written: ((error: Error | null) => void) | null = null;
  #isReferenced = true;
  pid: number | undefined;
  exitCode: number | null = null;
  signalCode: NodeJS.Signals | null = null;
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;

  /** `stdio`: what it is started with; a stream is what its input goes and its output comes by. */
  constructor(id: number, stdio: readonly unknown[], say: Say, onRef: (isReferenced: boolean) => void) {
    super();
    this.#id = id;
    this.#say = say;
    this.#onRef = onRef;
    this.stdin = stdio[0] instanceof Writable ? stdio[0] : stdio[0] === 'pipe' ? this.#input() : null;
    this.stdout = stdio[1] instanceof Readable ? stdio[1] : stdio[1] === 'pipe' ? this.#output(1) : null;
    this.stderr = stdio[2] === 'pipe' ? this.#output(2) : null;
  }

  /** True: the signal is on its way. */
  kill(signal: NodeJS.Signals = 'SIGTERM'): boolean {
    if (this.#isOver) return false;
    this.#say({ kind: 'kill', id: this.#id, signal });
    return true;
  }

  ref(): void {
    if (!this.#isReferenced && !this.#isOver) this.#onRef(true);
    this.#isReferenced = true;
  }

  unref(): void {
    if (this.#isReferenced && !this.#isOver) this.#onRef(false);
    this.#isReferenced = false;
  }

  take(message: Exclude<FromStarter, { kind: 'found' }>): void {
    if (message.kind === 'started') {
      this.pid = message.pid;
      this.emit('spawn');
    } else if (message.kind === 'failed')
      this.#fail(Object.assign(new Error(message.message), message.code === undefined ? {} : { code: message.code }));
    else if (message.kind === 'output') this.#push(message.output, message.bytes);
    else if (message.kind === 'written') this.#answer(message.error);
    else this.#exit(message.code, message.signal);
  }

  /** The starter is gone: how this child ends, nobody will hear. */
  lose(because: Error): void {
    if (this.#isOver) return;
    if (this.pid === undefined) this.#fail(because);
    else {
      for (const stream of [this.stdout, this.stderr]) stream?.destroy();
      this.#exit(-1, null);
    }
  }

  get #isOver(): boolean {
    return this.exitCode !== null || this.signalCode !== null;
  }

  #fail(error: Error): void {
    this.#end(-1, null);
    for (const output of [1, 2] as const) this.#push(output, null);
    this.emit('error', error);
  }

  #exit(code: number | null, signal: NodeJS.Signals | null): void {
    this.#end(code, signal);
    const open = [this.stdout, this.stderr].filter((stream) => stream !== null && !stream.closed);
    let left = open.length + 1;
    const closed = (): void => {
      left -= 1;
      if (left === 0) this.emit('close', code, signal);
    };
    for (const stream of open) stream?.once('close', closed);
    this.emit('exit', code, signal);
    process.nextTick(() => {
      // As Node does: what nobody reads is thrown away, so that its end is reached.
      for (const stream of open) stream?.resume();
      closed();
    });
  }

  #end(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#isReferenced) this.#onRef(false);
    this.exitCode = code;
    this.signalCode = signal;
    // Who writes still hears why, as with a pipe.
    this.stdin?.destroy(this.stdin.writableFinished ? undefined : brokenPipe());
  }

  #input(): Writable {
    const send = (bytes: Uint8Array | null, done: (error: Error | null) => void): void => {
      this.#written = done;
      const isWhole = bytes === null || bytes.byteLength === bytes.buffer.byteLength;
      this.#say({ kind: 'write', id: this.#id, bytes: isWhole ? bytes : new Uint8Array(bytes) });
    };
    const stream = new Writable({
      write: (chunk: Uint8Array, _encoding, done) => send(chunk, done),
      writev: (chunks, done) => send(Buffer.concat(chunks.map(({ chunk }) => chunk as Uint8Array)), done),
      final: (done) => send(null, done),
    });
    // A child that ends early takes no more; its end says why.
    return stream.on('error', () => undefined);
  }

  #answer(error: { message: string; code: string } | null): void {
    const done = this.#written;
    this.#written = null;
    done?.(error === null ? null : Object.assign(new Error(error.message), { code: error.code }));
  }

  #output(output: OutputFd): Readable {
    return new Readable({
      read: () => this.#pay(output),
      destroy: (error, done) => {
        this.#say({ kind: 'unwanted', id: this.#id, output });
        done(error);
      },
    });
  }

  #push(output: OutputFd, bytes: Uint8Array | null): void {
    const stream = output === 1 ? this.stdout : this.stderr;
    if (stream === null || stream.destroyed) return;
    if (bytes === null) {
      stream.push(null);
      return;
    }
    this.#owed[output] += 1;
    // Alone in its memory: what it came in holds other messages too, and would go along to whatever thread this is sent to.
    const isWanted = stream.push(Buffer.from(new Uint8Array(bytes).buffer));
    if (isWanted && this.#owed[output] >= chunksTaken) this.#pay(output);
  }

  /** The chunks that were taken, so that as many more come: also of a child that has ended and left more than those. */
  #pay(output: OutputFd): void {
    const count = this.#owed[output];
    this.#owed[output] = 0;
    if (count > 0) this.#say({ kind: 'taken', id: this.#id, output, count });
  }
}

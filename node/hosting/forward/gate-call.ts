import { connect, type Socket } from 'node:net';
import type { ForwardTarget } from './forward-files.ts';
import {
  answerIn,
  clientLine,
  type HandOver,
  handOver,
  inLine,
  longestLine,
  memberLine,
  newNonce,
  nonceIn,
} from './hand-over.ts';

const limits = {
  /** To one address of the host's, its answer included. */
  reachMs: 3000,
  chunkBytes: 64 << 10,
} as const;

/** What the gate sends is read into it and copied at once, so that a connection that rests has no memory of its own. */
const room = Buffer.allocUnsafeSlow(limits.chunkBytes);

/** Nobody took it at that address, and why; another one may. Any other error is an answer. */
export class NotReached extends Error {}

/** An answer: another address would not help. */
export class GateRefuses extends Error {
  readonly word: keyof typeof noWords;

  constructor(word: keyof typeof noWords) {
    super(noWords[word]);
    this.word = word;
  }
}

interface Taking {
  over: HandOver;
  /** Nobody waits any more. */
  signal: AbortSignal;
  /** The gate has shown who it is: what the client sends may be written at once. Not called where it shows that with its answer. */
  proven(): void;
  /** What comes behind the gate's answer; valid until it returns. False: no more is read, for now. */
  read(bytes: Buffer, isWhole: boolean): boolean;
}

/** What each of its lines is the answer to. */
type State =
  | 'greeting'
  /** It may be asked. */
  | 'greeted'
  /** Whether this is a member, before there is a client. */
  | 'member'
  | 'proven'
  /** With all that it has to know. */
  | 'asked'
  /** As a member that it knows. */
  | 'client'
  | 'passing';

/**
 * A connection to the host's gate: made, and then given to one client. One that is made beforehand, `member` says by whom, is proven
 * at both ends before that. `read` gets what follows the gate's answer, by hand as the gate
 * reads GitLab: `isWhole` is false for a short read, behind which a reset is told from an end only after a stop
 * (`../gate/service-gate.ts`).
 */
export class GateCall {
  readonly behind: Socket;
  readonly #key: Buffer;
  readonly #nonces = { gate: '', own: newNonce() };
  readonly #member: string | null;
  #state: State = 'greeting';
  #line = '';
  #taking: Taking | null = null;
  #done: () => void = () => undefined;
  #fails: (error: Error) => void;
  #failed: Error | null = null;

  constructor(address: string, gate: NonNullable<ForwardTarget['gate']>, member: string | null = null) {
    this.#member = member;
    this.#key = Buffer.from(gate.key, 'base64');
    this.#fails = (error) => {
      this.#failed ??= error;
      this.behind.destroy();
    };
    this.behind = connect({
      ...{ host: address, port: gate.port, allowHalfOpen: true, noDelay: true },
      onread: { buffer: room, callback: (bytes) => this.#read(bytes) },
    });
    this.behind.on('error', (error: NodeJS.ErrnoException) => this.#fails(new NotReached(error.code ?? error.message)));
    this.behind.on('end', () => this.#fails(new NotReached('it hung up')));
  }

  /** Why it was given up before anybody needed it. */
  get failed(): Error | null {
    return this.#failed;
  }

  /** It may still be given to a client. */
  get isThere(): boolean {
    return this.#failed === null && !this.behind.destroyed && this.#taking === null;
  }

  /** Resolves once the gate has taken that client. */
  async take(taking: Taking): Promise<void> {
    if (this.#failed !== null) throw this.#failed;
    if (taking.signal.aborted) throw new NotReached('its client is gone');
    this.#taking = taking;
    const late = setTimeout(() => this.#fails(new NotReached('it does not answer')), limits.reachMs);
    const isGone = (): void => this.#fails(new NotReached('its client is gone'));
    taking.signal.addEventListener('abort', isGone);
    try {
      await new Promise<void>((done, failed) => {
        this.#done = done;
        this.#fails = failed;
        if (this.#state === 'greeted' || this.#state === 'proven') this.#ask(taking);
      });
      // From then on both ends are looked after by who asked.
      this.#fails = () => undefined;
    } catch (error) {
      this.behind.destroy();
      throw error;
    } finally {
      clearTimeout(late);
      taking.signal.removeEventListener('abort', isGone);
    }
  }

  #isPassing(): boolean {
    return this.#state === 'passing';
  }

  #read(bytes: number): boolean {
    if (this.#isPassing()) return this.#taking?.read(room.subarray(0, bytes), bytes === room.length) ?? true;
    const end = room.subarray(0, bytes).indexOf(10);
    this.#line += room.toString('latin1', 0, end < 0 ? bytes : end);
    if (this.#line.length > longestLine) this.#fails(noGate());
    else if (end >= 0) this.#heard(this.#line);
    if (end < 0) return true;
    this.#line = '';
    // Whoever speaks first in the door's own protocol may have said it in the same breath.
    return (
      end + 1 === bytes || (this.#isPassing() && this.#taking?.read(room.subarray(end + 1, bytes), false) === true)
    );
  }

  #heard(line: string): void {
    const [state, key] = [this.#state, this.#key];
    if (state === 'greeting') return this.#greeted(nonceIn(line));
    if (state !== 'member' && state !== 'asked' && state !== 'client') return this.#fails(noGate());
    const answer = state === 'client' && `${line}\n` === inLine ? 'ok' : answerIn(line, key, this.#nonces);
    if (answer === 'stranger') return this.#fails(noGate());
    if (answer !== 'ok') return this.#fails(new GateRefuses(answer));
    this.#state = state === 'member' ? 'proven' : 'passing';
    if (state !== 'member') this.#done();
    else if (this.#taking !== null) this.#ask(this.#taking);
  }

  #greeted(nonce: string | null): void {
    if (nonce === null) return this.#fails(noGate());
    this.#nonces.gate = nonce;
    this.#state = this.#member === null ? 'greeted' : 'member';
    if (this.#member !== null) this.behind.write(memberLine(this.#member, this.#key, this.#nonces));
    else if (this.#taking !== null) this.#ask(this.#taking);
  }

  #ask({ over, proven }: Taking): void {
    const isProven = this.#state === 'proven';
    this.#state = isProven ? 'client' : 'asked';
    this.behind.write((isProven ? clientLine : handOver)(over, this.#key, this.#nonces));
    if (isProven) proven();
  }
}

const noGate = (): Error => new Error('what answers there is no gate of this mesh');
const noWords = {
  key: 'its gate does not know this machine yet',
  door: 'its gate has no such port',
} as const;

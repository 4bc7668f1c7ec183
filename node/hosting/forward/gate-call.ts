import { connect, type Socket } from 'node:net';
import type { ForwardTarget } from './forward-files.ts';
import { answerIn, type HandOver, handOver, longestLine, newNonce, nonceIn } from './hand-over.ts';

const limits = {
  /** To one address of the host's, its answer included. */
  reachMs: 3000,
  chunkBytes: 64 << 10,
} as const;

/** What the gate sends is read into it and copied at once, so that a connection that rests has no memory of its own. */
const room = Buffer.allocUnsafeSlow(limits.chunkBytes);

/** Nobody took it at that address, and why; another one may. Any other error is an answer. */
export class NotReached extends Error {}

interface Taking {
  over: HandOver;
  /** Nobody waits any more. */
  signal: AbortSignal;
  /** What comes behind the gate's answer; valid until it returns. False: no more is read, for now. */
  read(bytes: Buffer, isWhole: boolean): boolean;
}

/**
 * A connection to the host's gate: made, and then given to one client. `read` gets what follows the gate's answer, by hand as the gate
 * reads GitLab: `isWhole` is false for a short read, behind which a reset is told from an end only after a stop
 * (`../gate/service-gate.ts`).
 */
export class GateCall {
  readonly behind: Socket;
  readonly #key: Buffer;
  readonly #nonces = { gate: '', own: newNonce() };
  #state: 'greeting' | 'greeted' | 'asked' | 'passing' = 'greeting';
  #line = '';
  #taking: Taking | null = null;
  #done: () => void = () => undefined;
  #fails: (error: Error) => void;
  #failed: Error | null = null;

  constructor(address: string, gate: NonNullable<ForwardTarget['gate']>) {
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
        if (this.#state === 'greeted') this.#ask(taking);
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
    if (this.#state !== 'asked') return this.#greeted(nonceIn(line));
    const answer = answerIn(line, this.#key, this.#nonces);
    if (answer === 'stranger') return this.#fails(noGate());
    if (answer !== 'ok') return this.#fails(new Error(noWords[answer]));
    this.#state = 'passing';
    this.#done();
  }

  #greeted(nonce: string | null): void {
    if (nonce === null || this.#state !== 'greeting') return this.#fails(noGate());
    this.#nonces.gate = nonce;
    this.#state = 'greeted';
    if (this.#taking !== null) this.#ask(this.#taking);
  }

  #ask({ over }: Taking): void {
    this.#state = 'asked';
    this.behind.write(handOver(over, this.#key, this.#nonces));
  }
}

const noGate = (): Error => new Error('what answers there is no gate of this mesh');
const noWords = {
  key: 'its gate does not know this machine yet',
  door: 'its gate has no such port',
} as const;

import { Transform, type TransformCallback } from 'node:stream';
import { ReplicaProblem } from './replica-problem.ts';

/** What a stream must be that is let through to `btrfs receive`, which runs as root. */
interface GuardedRound {
  /** Of its subvolume. */
  name: string;
  uuid: string;
  /** Null for a whole copy. */
  parentUuid: string | null;
}

/** btrfs' send streams of versions 1 and 2, as the kernel's send.h has them. */
const magic = 'btrfs-stream\0';
const headBytes = magic.length + 4;
const commandHead = 10;
/** Version 2 puts compressed extents of 128 KiB into one command. */
const commandMost = 1 << 20;
const pathMost = 4096;
/** After so much of it the room is looked at again: what is announced says nothing of how long it is. */
const roomBytes = 16 << 20;
const commands = { subvolume: 1, snapshot: 2, symlink: 8, clone: 16, end: 21, last: 25 } as const;
const attributes = {
  uuid: 1,
  path: 15,
  pathTo: 16,
  pathLink: 17,
  data: 19,
  cloneUuid: 20,
  clonePath: 22,
  last: 31,
} as const;

const uuidIn = (bytes: Buffer): string =>
  bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');

/** Passes a stream on, command by command, as long as it is the one round that was announced and stays within its folder. */
export class StreamGuard extends Transform {
  readonly #round: GuardedRound;
  readonly #makeRoom: () => Promise<void>;
  /** Not yet looked at: put together only when it is a command, or many small pieces would be copied again and again. */
  #pieces: Buffer[] = [];
  #bytes = 0;
  #wanted = headBytes;
  #rest: Buffer = Buffer.alloc(0);
  #version = 0;
  #commands = 0;
  #isOver = false;
  #unlooked = 0;
  /** Why it was stopped. */
  refused: Error | null = null;

  /** `makeRoom`: throws where nothing more may come in. */
  constructor(round: GuardedRound, makeRoom: () => Promise<void> = async () => {}) {
    super({ highWaterMark: 1 << 20 });
    this.#round = round;
    this.#makeRoom = makeRoom;
  }

  override _transform(data: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#pieces.push(data);
    this.#bytes += data.length;
    if (this.#bytes < this.#wanted) return done();
    this.#rest = this.#pieces.length === 1 ? data : Buffer.concat(this.#pieces, this.#bytes);
    try {
      const bytes = this.#wholeCommands();
      if (bytes > 0) this.push(this.#rest.subarray(0, bytes));
      this.#rest = this.#rest.subarray(bytes);
      this.#bytes = this.#rest.length;
      this.#pieces = this.#bytes > 0 ? [this.#rest] : [];
      this.#unlooked += bytes;
    } catch (error) {
      this.refused = error as Error;
      return done(error as Error);
    }
    if (this.#unlooked < roomBytes) return done();
    this.#unlooked = 0;
    this.#makeRoom().then(
      () => done(),
      (error: Error) => {
        this.refused = error;
        done(error);
      },
    );
  }

  override _flush(done: TransformCallback): void {
    if (this.#isOver && this.#bytes === 0) return done();
    this.refused = refusal('it ends in the midst of a command');
    done(this.refused);
  }

  /** How many bytes of what is here are commands that may go on. */
  #wholeCommands(): number {
    let at = 0;
    if (this.#version === 0) {
      if (this.#rest.length < headBytes) return 0;
      this.#version = this.#rest.readUInt32LE(magic.length);
      if (this.#rest.toString('latin1', 0, magic.length) !== magic) throw refusal('it is no stream of btrfs');
      if (this.#version > 2 || this.#version < 1) throw refusal(`it is of version ${this.#version}`);
      at = headBytes;
    }
    this.#wanted = commandHead;
    while (this.#rest.length - at >= commandHead) {
      const length = this.#rest.readUInt32LE(at);
      if (length > commandMost) throw refusal(`a command of it has ${length} bytes`);
      this.#wanted = commandHead + length;
      if (this.#rest.length - at < this.#wanted) break;
      const kind = this.#rest.readUInt16LE(at + 4);
      this.#look(kind, this.#rest.subarray(at + commandHead, at + commandHead + length));
      at += this.#wanted;
      this.#wanted = commandHead;
    }
    return at;
  }

  #look(kind: number, body: Buffer): void {
    if (this.#isOver) throw refusal('it goes on after its end');
    if (kind < 1 || kind > commands.last) throw refusal(`it has a command ${kind}, which is not known`);
    const begins = kind === commands.subvolume || kind === commands.snapshot;
    if (begins !== (this.#commands === 0)) throw refusal('it is not one subvolume');
    this.#commands += 1;
    this.#isOver = kind === commands.end;
    const { name, uuid, parentUuid } = this.#round;
    if (begins && (kind === commands.snapshot) !== (parentUuid !== null))
      throw refusal(parentUuid === null ? 'it is no whole copy' : 'it is no difference');
    const found = this.#attributes(kind, body);
    if (begins && found.path !== name) throw refusal('its subvolume has another name');
    if (begins && found.uuid !== uuid) throw refusal('it is another round than it was called');
    if (kind === commands.snapshot && found.cloneUuid !== parentUuid)
      throw refusal('it has another parent than was named');
    if (kind === commands.clone && found.cloneUuid !== uuid && found.cloneUuid !== parentUuid)
      throw refusal('it takes from a subvolume that was not named');
  }

  #attributes(kind: number, body: Buffer): { path?: string; uuid?: string; cloneUuid?: string } {
    const found: { path?: string; uuid?: string; cloneUuid?: string } = {};
    for (let at = 0; at < body.length; ) {
      if (body.length - at < 2) throw refusal('an attribute of it is cut off');
      const type = body.readUInt16LE(at);
      // In version 2 data are the last attribute of a command, and its rest.
      if (type === attributes.data && this.#version === 2) return found;
      if (body.length - at < 4 || type < 1 || type > attributes.last) throw refusal('an attribute of it is not known');
      const length = body.readUInt16LE(at + 2);
      const value = body.subarray(at + 4, at + 4 + length);
      if (value.length < length) throw refusal('an attribute of it is longer than its command');
      at += 4 + length;
      // Where a symbolic link leads is data: it is followed by nobody but a GitLab that is served.
      const isPath =
        type === attributes.path ||
        type === attributes.pathTo ||
        type === attributes.clonePath ||
        (type === attributes.pathLink && kind !== commands.symlink);
      if (isPath) refusePath(value);
      if (type === attributes.path) found.path = value.toString('utf8');
      if (type === attributes.uuid) found.uuid = uuidIn(value);
      if (type === attributes.cloneUuid) found.cloneUuid = uuidIn(value);
    }
    return found;
  }
}

function refusePath(value: Buffer): void {
  const path = value.toString('latin1');
  const isOutside = path.startsWith('/') || path.includes('\0') || path.split('/').includes('..');
  if (isOutside || path.length > pathMost) throw refusal('a path in it leads out of its folder');
}

const refusal = (why: string): ReplicaProblem =>
  new ReplicaProblem(`the stream is not let through: ${why}`, 'see which machine sent it: autogit-node status');

import { randomBytes } from 'node:crypto';
import { chownSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { gateUser } from '../../executors/run-uids.ts';
import {
  type Client,
  clientIn,
  greeting,
  heardFrom,
  inLine,
  longestLine,
  memberIn,
  memberKey,
  newNonce,
  noLine,
} from '../forward/hand-over.ts';
import { listenForMembers } from '../wire/listen-for-members.ts';
import { ClientShare, clientOf } from './client-share.ts';
import { gateFolder, gateNow } from './gate-files.ts';

/*
 * Where other machines of the mesh hand on who came to GitLab's ports there (`../forward/`). What is handed on has the same doors and
 * the same lease as who comes here; a member alone says who the client is.
 */

const limits = {
  /** Those that have not shown yet that they are members. */
  strangers: 256,
  connections: 4096,
  provenMs: 5000,
  keepAliveMs: 60_000,
} as const;

const secretFile = (folder: string): string => join(folder, 'members.key');
const portFile = (folder: string): string => join(folder, 'members.port');

/** The secret of which each member has its own key: made anew when a member goes. Only the gate's user and root read it. */
export function writeMemberSecret(folder: string, uid: number): void {
  const path = secretFile(folder);
  writeFileSync(`${path}.new`, randomBytes(32).toString('hex'), { mode: 0o600 });
  chownSync(`${path}.new`, uid, uid);
  renameSync(`${path}.new`, path);
}

export function readMemberSecret(folder: string): Buffer | null {
  try {
    const secret = Buffer.from(readFileSync(secretFile(folder), 'utf8'), 'hex');
    return secret.length === 32 ? secret : null;
  } catch {
    return null;
  }
}

/** Where the gate of that folder lets members in; null while it does not. */
function memberPort(folder: string): number | null {
  try {
    return Number(readFileSync(portFile(folder), 'utf8')) || null;
  } catch {
    return null;
  }
}

/** Written while the gate is root still. */
export function writeMemberPort(folder: string, port: number): void {
  writeFileSync(`${portFile(folder)}.new`, String(port), { mode: 0o644 });
  renameSync(`${portFile(folder)}.new`, portFile(folder));
}

/** Where a member's forwarder finds this home's gate, and by what key; null while no gate stands. */
export function doorFor(home: string, node: string): { port: number; key: string } | null {
  const [folder, { pid }] = [gateFolder(home), gateNow(home)];
  const [port, secret] = [memberPort(folder), readMemberSecret(folder)];
  if (pid === null || port === null || secret === null) return null;
  return { port, key: memberKey(secret, node).toString('base64') };
}

/** A member has gone: nobody is let in any more by a key of before; the others ask for theirs. */
export function renewMemberSecret(home: string): void {
  const folder = gateFolder(home);
  if (readMemberSecret(folder) !== null) writeMemberSecret(folder, gateUser);
}

/** The gate's doors by their ports, for whoever comes by a member. */
export type Entrances = Map<number, (client: Socket, from: Client) => void>;

interface MemberDoorOptions {
  /** In which the secret lies. */
  folder: string;
  entrances: Entrances;
  say(sentence: string): void;
}

export class MemberDoor {
  readonly #options: MemberDoorOptions;
  readonly #server: Server;
  readonly #strangers = new ClientShare(limits.strangers);
  readonly #unproven = new Set<Socket>();

  constructor(options: MemberDoorOptions) {
    this.#options = options;
    const ways = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: limits.keepAliveMs };
    this.#server = createServer(ways, (socket) => this.#hear(socket));
    this.#server.maxConnections = limits.connections;
  }

  /** By a port as copies have it. Resolves with it. */
  async listen(host?: string): Promise<number> {
    await listenForMembers(this.#server, host);
    this.#server.on('error', (error) => this.#options.say(`the door for members: ${error.message}`));
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#unproven) socket.destroy();
  }

  #hear(socket: Socket): void {
    const who = clientOf(socket.remoteAddress ?? '');
    socket.on('error', () => socket.destroy());
    if (!this.#strangers.enter(who)) return void socket.resetAndDestroy();
    this.#unproven.add(socket);
    const nonce = newNonce();
    const late = setTimeout(() => socket.destroy(), limits.provenMs);
    const over = (): void => {
      clearTimeout(late);
      if (this.#unproven.delete(socket)) this.#strangers.leave(who);
    };
    socket.once('close', over);
    // As a rule a first line is the last; a member that has no client yet says another one.
    let member: ReturnType<typeof memberIn> = null;
    let by: Buffer = Buffer.alloc(0);
    const hears = (line: string, rest: Buffer): void => {
      const secret = readMemberSecret(this.#options.folder);
      if (member !== null) {
        // A member may have gone meanwhile: whose key is none any more is none.
        const came = secret?.equals(by) ? clientIn(line, nonce, member) : null;
        return this.#enter(socket, came, { word: inLine, rest, over });
      }
      const keyOf = (node: string): Buffer | null => secret && memberKey(secret, node);
      // Nobody sends a client's bytes before the answer.
      if (rest.length > 0) return void socket.destroy();
      member = memberIn(line, nonce, keyOf);
      if (member === null) {
        const heard = heardFrom(line, nonce, keyOf);
        return this.#enter(socket, heard, { word: heard?.yes ?? '', rest, over });
      }
      by = secret ?? by;
      late.refresh();
      readLine(socket, hears);
      socket.resume().write(member.yes);
    };
    readLine(socket, hears);
    socket.write(greeting(nonce));
  }

  /** `over`: it is no stranger any more. Who is refused stays one until he is gone, which is soon. */
  #enter(
    socket: Socket,
    came: { door: number; client: Client } | null,
    { word, rest, over }: { word: string; rest: Buffer; over(): void },
  ): void {
    const enter = came === null ? undefined : this.#options.entrances.get(came.door);
    if (came === null || enter === undefined) {
      socket.end(noLine(came === null ? 'key' : 'door'));
      return void socket.resume();
    }
    over();
    socket.write(word);
    if (rest.length > 0) socket.unshift(rest);
    // In this turn: nothing has come meanwhile.
    enter(socket, came.client);
  }
}

/** Stops behind a line, and gives it without its end. Whoever sends none is gone. */
function readLine(socket: Socket, then: (line: string, rest: Buffer) => void): void {
  let had: Buffer = Buffer.alloc(0);
  const more = (chunk: Buffer): void => {
    had = had.length === 0 ? chunk : Buffer.concat([had, chunk]);
    const end = had.indexOf(10);
    if (end > longestLine || (end < 0 && had.length > longestLine)) return void socket.destroy();
    if (end < 0) return;
    socket.off('data', more).pause();
    then(had.toString('latin1', 0, end), had.subarray(end + 1));
  };
  socket.on('data', more);
}

/** Of one that was handed on: as the member says. */
export const toldClient = ({ address, port, at, atPort }: Client) => ({
  remoteAddress: address,
  remotePort: port,
  localAddress: at,
  localPort: atPort,
});

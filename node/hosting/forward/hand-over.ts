import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

/*
 * What a forwarder and the host's gate say to each other before the first byte of a client's, in lines of ASCII:
 *
 *     gate       AUTOGIT-GATE 1 NONCE
 *     forwarder  AUTOGIT-FORWARD 1 NODE NONCE DOOR FROM FROM-PORT TO TO-PORT MAC
 *     gate       ok MAC, or no WORD, and then it ends
 *
 * On a connection that is made before there is a client, both prove themselves before, and the client's bytes wait for nobody:
 *
 *     gate       AUTOGIT-GATE 1 NONCE
 *     forwarder  AUTOGIT-FORWARD 2 NODE NONCE MAC
 *     gate       ok MAC, or no key, and then it ends: so does a gate of before
 *     forwarder  DOOR FROM FROM-PORT TO TO-PORT MAC, and the client's bytes behind it
 *     gate       in, or no door, and then it ends
 *
 * NONCE: 32 hex digits, new for each connection. DOOR: the port of GitLab's that the client came to. FROM and TO: the two ends of the
 * client's connection, as a PROXY line of HAProxy's (version 1) has them. MAC: HMAC-SHA256 in hex by the member's key, over both
 * nonces and what is said; so nobody but a member says who a client is, nobody says it twice, and nobody but the gate is given
 * what the client sends. What follows is the client's, byte for byte: whoever speaks TLS to GitLab has it all the way.
 */

/** More is no line of ours. */
export const longestLine = 320;

export interface Client {
  address: string;
  port: number;
  /** Where it came to: an address of the forwarder's machine, of the same family. */
  at: string;
  atPort: number;
}

export interface HandOver {
  node: string;
  door: number;
  client: Client;
}

/** Why a gate does not take it. */
type NoWord = 'key' | 'door';

export const newNonce = (): string => randomBytes(16).toString('hex');

/** A member's own key of 32 bytes: the gate keeps one secret, whoever the members are. */
export const memberKey = (secret: Buffer, node: string): Buffer =>
  createHmac('sha256', secret).update(`member ${node}`).digest();

const mac = (key: Buffer, ...parts: string[]): string =>
  createHmac('sha256', key).update(parts.join('\n')).digest('hex');

const isSame = (one: string, other: string): boolean =>
  one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));

export const greeting = (nonce: string): string => `AUTOGIT-GATE 1 ${nonce}\n`;

/** The gate's nonce; null for what is no greeting. */
export const nonceIn = (line: string): string | null => /^AUTOGIT-GATE 1 ([\da-f]{32})$/.exec(line)?.[1] ?? null;

type Came = Pick<HandOver, 'door' | 'client'>;

const cameAs = ({ door, client: { address, port, at, atPort } }: Came): string =>
  `${door} ${address} ${port} ${at} ${atPort}`;

const said = (over: HandOver, own: string): string => `AUTOGIT-FORWARD 1 ${over.node} ${own} ${cameAs(over)}`;

export const handOver = (over: HandOver, key: Buffer, nonces: { gate: string; own: string }): string => {
  const line = said(over, nonces.own);
  return `${line} ${mac(key, nonces.gate, line)}\n`;
};

/** Before there is a client: who this is. */
export function memberLine(node: string, key: Buffer, nonces: { gate: string; own: string }): string {
  const line = `AUTOGIT-FORWARD 2 ${node} ${nonces.own}`;
  return `${line} ${mac(key, nonces.gate, line)}\n`;
}

/** And then the client, once. */
export const clientLine = (came: Came, key: Buffer, nonces: { gate: string; own: string }): string =>
  `${cameAs(came)} ${mac(key, nonces.gate, nonces.own, cameAs(came))}\n`;

/** The gate's answer to it, before whatever GitLab says. */
export const inLine = 'in\n';

interface Heard extends HandOver {
  /** For the gate's answer. */
  yes: string;
}

/** A member that has no client yet. */
interface Member {
  key: Buffer;
  own: string;
  yes: string;
}

const port = /^[1-9]\d{0,4}$/;
const isPort = (text: string): boolean => port.test(text) && Number(text) <= 65_535;
const isName = (node: string, own: string, sign: string): boolean =>
  /^[A-Za-z0-9-]{1,64}$/.test(node) && /^[\da-f]{32}$/.test(own) && /^[\da-f]{64}$/.test(sign);

/** Null for what no forwarder says. */
function came([door = '', address = '', from = '', at = '', atPort = '']: readonly string[]): Came | null {
  if (![door, from, atPort].every(isPort) || isIP(address) === 0 || isIP(address) !== isIP(at)) return null;
  return { door: Number(door), client: { address, port: Number(from), at, atPort: Number(atPort) } };
}

const yesFor = (key: Buffer, gateNonce: string, own: string): string => `ok ${mac(key, gateNonce, own, 'ok')}\n`;

/** What a forwarder says, by that member's key; null for what no member says. */
export function heardFrom(line: string, gateNonce: string, keyOf: (node: string) => Buffer | null): Heard | null {
  const [word, version, node = '', own = '', ...rest] = line.split(' ');
  const sign = rest.at(-1) ?? '';
  if (word !== 'AUTOGIT-FORWARD' || version !== '1' || rest.length !== 6 || !isName(node, own, sign)) return null;
  const client = came(rest);
  const key = keyOf(node);
  if (client === null || key === null) return null;
  const over: HandOver = { node, ...client };
  const text = said(over, own);
  if (text !== line.slice(0, text.length) || !isSame(mac(key, gateNonce, text), sign)) return null;
  return { ...over, yes: yesFor(key, gateNonce, own) };
}

/** A member, before it has a client; null for what no member says. */
export function memberIn(line: string, gateNonce: string, keyOf: (node: string) => Buffer | null): Member | null {
  const [word, version, node = '', own = '', sign = '', more] = line.split(' ');
  if (word !== 'AUTOGIT-FORWARD' || version !== '2' || more !== undefined || !isName(node, own, sign)) return null;
  const key = keyOf(node);
  if (key === null || !isSame(mac(key, gateNonce, `${word} ${version} ${node} ${own}`), sign)) return null;
  return { key, own, yes: yesFor(key, gateNonce, own) };
}

/** That member's client; null for what that member does not say. */
export function clientIn(line: string, gateNonce: string, { key, own }: Pick<Member, 'key' | 'own'>): Came | null {
  const words = line.split(' ');
  const client = words.length === 6 ? came(words) : null;
  const sign = words[5] ?? '';
  return client !== null && isSame(mac(key, gateNonce, own, cameAs(client)), sign) ? client : null;
}

export const noLine = (word: NoWord): string => `no ${word}\n`;

/** The gate's last line: taken, or why not. `stranger`: whoever answers there has not the member's key. */
export function answerIn(line: string, key: Buffer, nonces: { gate: string; own: string }): 'ok' | NoWord | 'stranger' {
  const no = /^no (key|door)$/.exec(line)?.[1];
  if (no !== undefined) return no as NoWord;
  const sign = /^ok ([\da-f]{64})$/.exec(line)?.[1];
  return sign !== undefined && isSame(sign, mac(key, nonces.gate, nonces.own, 'ok')) ? 'ok' : 'stranger';
}

/** As it stands in such a line, or a PROXY line: IPv4 as itself, and no interface behind an address of the link. */
export const bareAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');

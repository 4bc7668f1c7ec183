import { peerIdFromString } from '@libp2p/peer-id';
import { type Answer, decode, encode, type TxtAnswer } from 'dns-packet';
import type { NodeId } from '../../protocol/ids.ts';
import { limits } from '../../protocol/limits.ts';
import { names } from '../../protocol/names.ts';
import { dialableOf } from './addresses.ts';

/** What mDNS shows of an agent. None of it is proven. */
export interface Sighting {
  node: NodeId;
  addresses: string[];
  /** Id of the mesh that the agent claims to be in; null when it claims to be in none, undefined when it claims nothing. */
  mesh: string | null | undefined;
}

/** A packet with more bytes would be split on its way. */
const packetBytes = 1400;
const ttlSeconds = 120;
const address = 'dnsaddr=';
const mesh = 'mesh=';

const pointer = (label: string): Answer => ({
  name: names.mdnsTag,
  type: 'PTR',
  class: 'IN',
  ttl: ttlSeconds,
  data: `${label}.${names.mdnsTag}`,
});

/** libp2p's question for agents with that tag. The label of the agent that asks travels as a known answer (RFC 6762 §7.1), which libp2p ignores. */
export const question = (label: string): Uint8Array =>
  encode({ type: 'query', id: 0, questions: [{ name: names.mdnsTag, type: 'PTR' }], answers: [pointer(label)] });

/**
 * libp2p's answer (a PTR and a TXT for each address), and one text more that libp2p leaves out of account: the mesh.
 * Addresses that would make the packet too large are left out.
 */
export function answer(label: string, sighting: Sighting): Uint8Array {
  const name = `${label}.${names.mdnsTag}`;
  const text = (data: string): TxtAnswer => ({ name, type: 'TXT', class: 'IN', ttl: ttlSeconds, data });
  const answers: Answer[] = [
    pointer(label),
    ...(sighting.mesh === undefined ? [] : [text(`${mesh}${sighting.mesh ?? ''}`)]),
  ];
  let packet = pack(answers);
  for (const one of dialableOf(sighting.addresses)) {
    answers.push(text(`${address}${one}/p2p/${sighting.node}`));
    const larger = pack(answers);
    if (larger.byteLength > packetBytes) break;
    packet = larger;
  }
  return packet;
}

// Authoritative, as mDNS asks of every answer.
const pack = (answers: Answer[]): Uint8Array => encode({ type: 'response', id: 0, flags: 1 << 10, answers });

/** `ask` for our question, a sighting, or null for all the rest, rubbish included. `label`: who says it. */
type Read = { kind: 'ask'; label: string | null } | { kind: 'seen'; label: string; seen: Sighting } | null;

/** So many packets are remembered with what they say: agents repeat themselves, and reading a packet costs a tenth of a ms. */
const learnt = 128;

export class PacketReader {
  #known = new Map<string, Read>();

  read(packet: Buffer): Read {
    if (packet.byteLength > packetBytes) return readPacket(packet);
    const bytes = packet.toString('latin1');
    const known = this.#known.get(bytes);
    if (known !== undefined) return known;
    const read = readPacket(packet);
    this.#known.set(bytes, read);
    if (this.#known.size > learnt) this.#known.delete(this.#known.keys().next().value as string);
    return read;
  }
}

/** What one packet of the LAN says, taken apart. */
export function readPacket(packet: Buffer): Read {
  try {
    const { type, questions = [], answers = [], additionals = [] } = decode(packet);
    const found = answers.find((one) => one.type === 'PTR' && one.name === names.mdnsTag);
    const name = found?.type === 'PTR' ? found.data : null;
    const label = name?.slice(0, -names.mdnsTag.length - 1) ?? null;
    if (type === 'query') return questions.some((one) => one.name === names.mdnsTag) ? { kind: 'ask', label } : null;
    if (label === null) return null;
    const texts = [...answers, ...additionals]
      .filter((one) => one.type === 'TXT' && one.name === name)
      .flatMap((one) => (one.type === 'TXT' ? [one.data].flat().map(String) : []));
    const seen = sightingIn(texts);
    return seen && { kind: 'seen', label, seen };
  } catch {
    return null;
  }
}

function sightingIn(texts: readonly string[]): Sighting | null {
  const found = texts
    .filter((one) => one.startsWith(address))
    .map((one) => /^(.+)\/p2p\/(\w+)$/.exec(one.slice(address.length)))
    .filter((match) => match !== null);
  const node = found[0]?.[2];
  if (node === undefined) return null;
  const said = texts.find((one) => one.startsWith(mesh))?.slice(mesh.length, mesh.length + limits.nameChars);
  return {
    node: peerIdFromString(node).toString(),
    addresses: dialableOf(found.filter((match) => match[2] === node).map((match) => match[1] as string)),
    mesh: said === '' ? null : said,
  };
}

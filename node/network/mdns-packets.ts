import { peerIdFromString } from '@libp2p/peer-id';
import { type Answer, decode, encode, type TxtAnswer } from 'dns-packet';
import type { NodeId } from '../../protocol/ids.ts';
import { limits } from '../../protocol/limits.ts';
import { names } from '../../protocol/names.ts';
import { dialableOf } from './addresses.ts';

/** An agent as mDNS shows it. Nothing of it is proven. */
export interface Sighting {
  node: NodeId;
  addresses: string[];
  /** Id of the mesh that it says to be in; null = in none; undefined = it does not say. */
  mesh: string | null | undefined;
}

/** Bytes: what is larger would be cut in pieces on its way. */
const packetBytes = 1400;
const ttlSeconds = 120;
const address = 'dnsaddr=';
const mesh = 'mesh=';

/** libp2p's question: who of that tag is there? */
export const question = (): Uint8Array =>
  encode({ type: 'query', id: 0, questions: [{ name: names.mdnsTag, type: 'PTR' }] });

/**
 * libp2p's answer (a PTR and a TXT for each address), and one text more that libp2p leaves out of account: the mesh.
 * Addresses that would make the packet too large are left out.
 */
export function answer(label: string, sighting: Sighting): Uint8Array {
  const name = `${label}.${names.mdnsTag}`;
  const text = (data: string): TxtAnswer => ({ name, type: 'TXT', class: 'IN', ttl: ttlSeconds, data });
  const answers: Answer[] = [
    { name: names.mdnsTag, type: 'PTR', class: 'IN', ttl: ttlSeconds, data: name },
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

/** What a packet of the LAN says: `ask` for our question, a sighting, or null for all the rest, rubbish included. */
export function readPacket(packet: Buffer): { kind: 'ask' } | { kind: 'seen'; label: string; seen: Sighting } | null {
  try {
    const { type, questions = [], answers = [], additionals = [] } = decode(packet);
    if (type === 'query') return questions.some(({ name }) => name === names.mdnsTag) ? { kind: 'ask' } : null;
    const pointer = answers.find((one) => one.type === 'PTR' && one.name === names.mdnsTag);
    if (pointer?.type !== 'PTR') return null;
    const texts = [...answers, ...additionals]
      .filter((one) => one.type === 'TXT' && one.name === pointer.data)
      .flatMap((one) => (one.type === 'TXT' ? [one.data].flat().map(String) : []));
    const seen = sightingIn(texts);
    return seen && { kind: 'seen', label: pointer.data.slice(0, -names.mdnsTag.length - 1), seen };
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

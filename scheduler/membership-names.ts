import { type NodeId, own } from '../protocol/ids.ts';
import type { Ledger, LedgerNode } from '../protocol/ledger.ts';
import { limits } from '../protocol/limits.ts';
import { didYouMean } from './jobs/near-word.ts';
import type { Refusal } from './ledger-edit.ts';

/** How people name nodes: by name, by id, or by the end of an id that no other one has (six characters or more). */
export function find(nodes: Readonly<Record<NodeId, { name: string }>>, wanted: string): NodeId | null {
  if (Object.hasOwn(nodes, wanted)) return wanted;
  const named = Object.keys(nodes).filter((node) => nodes[node]!.name === wanted);
  if (named.length === 1) return named[0]!;
  const ending = wanted.length < 6 ? [] : Object.keys(nodes).filter((node) => node.endsWith(wanted));
  return named.length === 0 && ending.length === 1 ? ending[0]! : null;
}

export const known = (nodes: Readonly<Record<NodeId, { name: string }>>): string =>
  Object.values(nodes)
    .map(({ name }) => name)
    .sort()
    .join(', ');

const isTaken = (ledger: Ledger, name: string, by: NodeId): boolean =>
  Object.entries(ledger.nodes).some(([node, entry]) => entry.name === name && node !== by);

/** The name, or with the first suffix -2, -3, … that nobody else has. */
export function freeName(ledger: Ledger, name: string, node: NodeId): string {
  if (!isTaken(ledger, name, node)) return name;
  for (let number = 2; ; number += 1) {
    const suffix = `-${number}`;
    const candidate = `${name.slice(0, limits.nameChars - suffix.length)}${suffix}`;
    if (!isTaken(ledger, candidate, node)) return candidate;
  }
}

export function mapNode(ledger: Ledger, node: NodeId, change: (entry: LedgerNode) => LedgerNode): Ledger | Refusal {
  const entry = own(ledger.nodes, node);
  if (!entry) return { refused: 'this node is not in the mesh' };
  const after = change(entry);
  return after === entry ? ledger : { ...ledger, nodes: { ...ledger.nodes, [node]: after } };
}

export function without<T>(record: Readonly<Record<string, T>>, key: string): Record<string, T> {
  const { [key]: _, ...rest } = record;
  return rest;
}

/** A refusal for a name that no node has: the names, and the one that was probably meant. */
export const noNode = (ledger: Ledger, wanted: string): string => {
  const guess = didYouMean(
    wanted,
    Object.values(ledger.nodes).map(({ name }) => name),
  );
  return `no node is called ${wanted}; the nodes are ${known(ledger.nodes)}${guess}`;
};

import { networkInterfaces } from 'node:os';
import { performance } from 'node:perf_hooks';
import type { Interfaces } from './addresses.ts';

/** ms for which an answer of the kernel is kept: libp2p asks for its addresses dozens of times at a start, and each answer costs a tenth of a ms. */
const freshMs = 250;
let kept: { at: number; interfaces: Interfaces } | null = null;

/** This machine's interfaces, at most a quarter of a second old. */
export function ownInterfaces(): Interfaces {
  const now = performance.now();
  if (kept === null || now - kept.at > freshMs) kept = { at: now, interfaces: networkInterfaces() };
  return kept.interfaces;
}

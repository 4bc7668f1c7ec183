import type { Packed } from './artifact-pack.ts';

/** What the packing thread says to the agent. */
export type FromThread =
  | { kind: 'open'; id: number; what: 'list' | 'read'; names: Uint8Array | null; roots: string[] }
  | { kind: 'pull'; id: number }
  | { kind: 'close'; id: number }
  | { kind: 'done'; packed: Packed }
  | { kind: 'failed'; message: string; problem: boolean | null };

/** One chunk of what was opened; null at its end. */
export interface ToThread {
  id: number;
  chunk: Uint8Array | null;
  error: string | null;
  complaint: string;
}

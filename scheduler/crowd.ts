import type { Ledger } from '../protocol/ledger.ts';
import { limits } from '../protocol/limits.ts';

/** So many nodes that what grows with the square of them is done more rarely. */
export const isCrowd = ({ nodes }: Pick<Ledger, 'nodes'>): boolean => Object.keys(nodes).length > limits.smallMesh;

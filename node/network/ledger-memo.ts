import type { z } from 'zod';
import { checked, parsed } from '../../protocol/codec.ts';
import { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { Envelope } from '../../protocol/messages.ts';
import { fits } from '../../protocol/schema-fit.ts';
import { isSameJson } from './same-json.ts';

type Json = Record<string, unknown>;

const shape = Ledger.shape as Readonly<Record<string, z.ZodType>>;
const remembered = Ledger.shape.requests.element;
/** Parts whose absence the schema must judge, or fills in. */
const judged = Object.keys(shape).filter((part) => {
  const absent = shape[part]?.safeParse(undefined);
  return absent?.success !== true || absent.data !== undefined;
});

/**
 * Decodes what one link says. A ledger says mostly what the one before it said, and checking it was a third of a
 * follower's way from hearing a decision to having it on disk. What is the same, part by part, was checked then, and is
 * the same object now; what differs is checked by the schema of its part. Whatever is unusual is decoded as a whole.
 */
export class LedgerMemo {
  #known: { raw: Json; ledger: Ledger } | null = null;

  /** Throws as `decode` does. */
  decode(frame: Uint8Array): Envelope {
    const json = parsed(frame, limits.frameBytes);
    const raw = ledgerIn(json);
    const reused = raw && this.#reused(raw);
    if (raw && reused) {
      const bare = json as { message: Json };
      const { v, era, message } = checked(Envelope, { ...bare, message: { ...bare.message, ledger: null } });
      this.#known = { raw, ledger: reused };
      return { v, era, message: { ...message, ledger: reused } as Envelope['message'] };
    }
    const envelope = checked(Envelope, json);
    const { message } = envelope;
    if (raw && message.kind === 'append' && message.ledger) this.#known = { raw, ledger: message.ledger };
    return envelope;
  }

  #reused(raw: Json): Ledger | null {
    const known = this.#known;
    if (known === null || judged.some((part) => !Object.hasOwn(raw, part)) || Object.hasOwn(raw, '__proto__'))
      return null;
    const ledger: Json = {};
    for (const [part, value] of Object.entries(raw)) {
      const before = Object.hasOwn(known.raw, part) ? known.raw[part] : undefined;
      if (before !== undefined && isSameJson(value, before)) ledger[part] = known.ledger[part];
      else {
        const requests = part === 'requests' ? requestsOf(value, before, known.ledger.requests) : null;
        const schema = Object.hasOwn(shape, part) ? shape[part] : undefined;
        const isFit = schema !== undefined && fits(schema, value);
        const found = requests || isFit ? { success: true, data: requests ?? value } : schema?.safeParse(value);
        if (found?.success === false) return null;
        ledger[part] = found ? found.data : value;
      }
    }
    return ledger as Ledger;
  }
}

function ledgerIn(json: unknown): Json | null {
  const { message } = (json ?? {}) as { message?: { kind?: unknown; ledger?: unknown } };
  const ledger = message?.kind === 'append' ? message.ledger : null;
  return typeof ledger === 'object' && ledger !== null && !Array.isArray(ledger) ? (ledger as Json) : null;
}

/** The oldest go, new ones come behind: only those are checked. Null when it is not so. */
function requestsOf(value: unknown, before: unknown, known: Ledger['requests']): Ledger['requests'] | null {
  if (!Array.isArray(value) || !Array.isArray(before) || value.length > limits.rememberedRequests) return null;
  const from = before.findIndex((one) => isSameJson(one, value[0]));
  if (from < 0) return null;
  const kept = known.slice(from);
  if (kept.length > value.length || !kept.every((_, index) => isSameJson(before[from + index], value[index])))
    return null;
  for (const one of value.slice(kept.length)) {
    const found = remembered.safeParse(one);
    if (!found.success) return null;
    kept.push(found.data);
  }
  return kept;
}

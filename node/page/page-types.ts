/** What somebody who came in may do: each may do what the one before may. */
export const roles = ['viewer', 'operator', 'owner'] as const;
export type Role = (typeof roles)[number];

export const mayAct = (has: Role, needed: Role): boolean => roles.indexOf(has) >= roles.indexOf(needed);

/** Who asks: a browser that came in by a one-time link, or a program with a key. */
export interface Caller {
  kind: 'session' | 'key';
  /** `page-3`, or the key's name. */
  name: string;
  role: Role;
  /** Wall time, ms; null: until it is removed. */
  until: number | null;
}

/** One request that may be answered: its Host is ours, its caller known and of the role that the path wants. */
export interface PageRequest {
  method: string;
  /** Without what is before `/api/…`. */
  path: string;
  query: URLSearchParams;
  /** Null only for paths of `anybody`. */
  caller: Caller | null;
  /** `http://HOST:PORT`, as it was asked for. */
  origin: string;
  /** Throws `frame-too-large`. */
  body(): Promise<Uint8Array>;
  /** Aborted when the caller hangs up, or may no longer ask. */
  signal: AbortSignal;
}

export interface PageAnswer {
  status: number;
  /** Content-Type. */
  type: string;
  body: string | Uint8Array | AsyncIterable<string | Uint8Array>;
  headers?: Readonly<Record<string, string>>;
}

/**
 * What another part of the agent serves at the same door (`OwnPage.add`), such as `/metrics`. What throws an AutogitError is a refusal.
 * `path`: exact, or all below it where it ends on `/`.
 */
export interface AddedPath {
  path: string;
  methods: readonly ('GET' | 'POST')[];
  /** `anybody`: it judges by itself who may, as a signed link does; only the Host is looked at, and how often somebody asks. */
  role: Role | 'anybody';
  answer(request: PageRequest): PageAnswer | Promise<PageAnswer>;
}

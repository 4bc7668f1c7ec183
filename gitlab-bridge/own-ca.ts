/** A CA that is believed for one address, and for no other: the one that the mesh knows of its own GitLab. */
interface OwnCa {
  /** PEM. */
  pem: string;
  /** Where it lies, for programs. */
  file: string;
}

/** By origin: one a process, but for tests with several agents. */
const believed = new Map<string, OwnCa>();

/** From now on that CA alone; null: those that this machine believes anyway. */
export function believe(origin: string, ca: OwnCa | null): void {
  if (ca === null) believed.delete(origin);
  else believed.set(origin, ca);
}

/** Null where nothing is said of that address. */
export function ownCaOf(url: string): OwnCa | null {
  return URL.canParse(url) ? (believed.get(new URL(url).origin) ?? null) : null;
}

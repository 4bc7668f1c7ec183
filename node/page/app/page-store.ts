import { useEffect, useState } from 'preact/hooks';
import { type News, nothingYet, type PageState, withNews } from '../view/page-state.ts';

/** What is known, and who wants to hear when it changes. */
export class PageStore {
  #state: PageState = nothingYet;
  readonly #listeners = new Set<(state: PageState) => void>();

  get state(): PageState {
    return this.#state;
  }

  take(news: News): void {
    this.#state = withNews(this.#state, news);
    for (const listener of this.#listeners) listener(this.#state);
  }

  subscribe(listener: (state: PageState) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}

export function usePageState(store: PageStore): PageState {
  const [state, set] = useState(store.state);
  useEffect(() => {
    set(store.state);
    return store.subscribe(set);
  }, [store]);
  return state;
}

/** This browser's clock, each second while somebody looks. */
export function useNow(): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => {
      if (document.visibilityState !== 'hidden') set(Date.now());
    }, 1000);
    return () => clearInterval(timer);
  }, []);
  return now;
}

/** The part of the address behind `#`. */
export function useHash(): string {
  const [hash, set] = useState(location.hash);
  useEffect(() => {
    const changed = (): void => set(location.hash);
    window.addEventListener('hashchange', changed);
    return () => window.removeEventListener('hashchange', changed);
  }, []);
  return hash;
}

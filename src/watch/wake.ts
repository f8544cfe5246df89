/** A bell that one waits for and many ring. A ring while nobody waits is kept, so that none is lost between two waits. */
export class Wake {
  #rung = false;
  #resume: (() => void) | undefined;

  ring(): void {
    this.#rung = true;
    this.#resume?.();
  }

  async wait(): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        this.#resume = resolve;
      });
      this.#resume = undefined;
    }
    this.#rung = false;
  }
}

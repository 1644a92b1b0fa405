// @ts-check
/** Menus are `<details>` and work without this script, which closes them on Escape and on a click or focus elsewhere. */

export function startMenus() {
  const menus = /** @type {NodeListOf<HTMLDetailsElement>} */ (document.querySelectorAll('details.menu'));
  for (const menu of menus) {
    menu.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !menu.open) return;
      menu.open = false;
      menu.querySelector('summary')?.focus();
    });
  }
  const leave = (/** @type {Event} */ event) => {
    for (const menu of menus) if (menu.open && !(event.target instanceof Node && menu.contains(event.target))) menu.open = false;
  };
  addEventListener('pointerdown', leave);
  addEventListener('focusin', leave);
}

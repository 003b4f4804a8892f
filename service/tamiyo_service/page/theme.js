// Runs before anything is drawn, so that a chosen theme never flashes in the other one's colours.
(() => {
  try {
    const chosen = localStorage.getItem("tamiyo-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // A browser that keeps nothing follows the system.
  }
})();
